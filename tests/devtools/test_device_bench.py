"""`bench device`: what fails is written down and the next goes on; figures of another machine come home as its own."""

import json

import numpy as np
import pytest

from visual_insertion_pack.benchmarks import bench_device, figures
from visual_insertion_pack.benchmarks.on_device.findings import Findings, distance
from visual_insertion_pack.devtools.host import HOST_FLAGS, cpu_flags


def test_what_fails_is_written_down_and_the_next_goes_on(tmp_path):
    findings = Findings(tmp_path, "part", 60)
    with findings.attempt("first"):
        raise RuntimeError("CUDA error: an illegal memory access")
    with findings.attempt("second"):
        findings.figure("seconds", 1.5, "s")
    written = json.loads(findings.file.read_text("utf-8"))
    assert "illegal memory access" in written["failures"]["first"] and "Traceback" in written["failures"]["first"]
    assert written["figures"] == {"part_seconds": [1.5, "s"]}
    assert set(written["facts"]["seconds"]) == {"first", "second"}


def test_pictures_are_as_far_apart_as_their_levels():
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert distance(grey, grey) == (0.0, 99.0)
    largest, psnr = distance(grey, grey + 5)
    assert largest == 5 and psnr == pytest.approx(20 * np.log10(255 / 5), abs=0.01)
    with pytest.raises(ValueError, match="pictures are"):
        distance(grey, grey[:2])


def test_figures_of_another_machine_are_kept_as_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    told = {"command": bench_device.COMMAND, "machine": "Linux x86_64, another GPU", "commit": "1234567"}
    path = bench_device.keep({"source": told, "parts": {"doors": {"figures": {"doors_seconds": [0.5, "s"]}}}})
    assert json.loads(path.read_text("utf-8")) == {"doors_seconds": {"value": 0.5, "unit": "s", **told}}


def test_a_host_stays_on_the_cpu_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.delenv(HOST_FLAGS, raising=False)
    assert cpu_flags() == ["--cpu"]
    monkeypatch.setenv(HOST_FLAGS, "--force-fp32 --lowvram")
    assert cpu_flags() == ["--force-fp32", "--lowvram"]
