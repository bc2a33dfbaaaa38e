"""A method that is announced in `systems.METHODS` can be trained and scored, and nothing else has to know of it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.method import Option
from visual_insertion_pack.pipelines.systems import METHODS


@dataclass(frozen=True)
class ToyConfig:
    size: int = 1


@dataclass(frozen=True)
class ToyTraining:
    recipes: Path

    def config(self):
        return ToyConfig

    def estimate(self, config):
        return f"a toy of size {config.size}"

    def train(self, config, report, progress):
        (self.recipes / "toy.txt").write_text("*" * config.size, encoding="utf-8")
        return {"toy": self.recipes / "toy.txt"}


@dataclass(frozen=True)
class ToyMethod:
    training: ToyTraining
    name: str = "toy_method"
    options: tuple[Option, ...] = (Option("--toy-colour", "of toy-method", metavar="N", kind=int, needed=True),)

    def inserter(self, args, benchmark):
        def paint(case):
            pixels = np.array(case.scene)
            pixels[case.mask] = args.toy_colour
            return Image.fromarray(pixels)

        return paint, {"colour": args.toy_colour, "cases": len(benchmark)}


@pytest.fixture
def announced(tmp_path):
    """A method announced for the length of a test, its recipes in `tmp_path`."""
    (tmp_path / "toy_recipe.yaml").write_text("method: toy_method\nsize: 3\n", encoding="utf-8")
    method = ToyMethod(ToyTraining(tmp_path))
    METHODS.append(method)
    yield method
    METHODS.remove(method)


def test_train_finds_its_configurations_and_recipes(announced, tmp_path, capsys):
    for config in (str(tmp_path / "toy_recipe.yaml"), "toy_recipe"):
        assert main(["train", config, "--set", "size=4", "--dry-run"]) == 0
        assert capsys.readouterr().out.strip() == "a toy of size 4" and not (tmp_path / "toy.txt").exists()
    assert main(["train", "toy_recipe"]) == 0
    assert (tmp_path / "toy.txt").read_text("utf-8") == "***" and "toy.txt" in capsys.readouterr().out
    assert main(["train", "toy_recipe", "--set", "colour=1"]) == 1 and "colour" in capsys.readouterr().err


def test_evaluate_scores_it_with_its_own_options(announced, tmp_path, capsys):
    shared = ["--benchmark", "playroom", "--limit", "2", "--device", "cpu", "--output", str(tmp_path / "out")]
    assert main(["evaluate", "--method", "toy-method", *shared]) == 2
    assert "--toy-colour PATH is needed" in capsys.readouterr().err
    assert main(["evaluate", "--method", "toy-method", "unchanged", "--toy-colour", "9", *shared]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["summary"]["toy-method"]["inclusion"]["value"] == 1
    assert report["settings"]["toy-method"] == {"colour": 9, "cases": 256}


def test_what_is_not_announced_is_not_there(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("method: toy_method\n", encoding="utf-8")
    assert main(["train", str(config), "--dry-run"]) == 1
    assert "there is no method 'toy_method'; known: visual_insertion" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["evaluate", "--benchmark", "playroom", "--method", "toy-method", "--output", str(tmp_path)])
