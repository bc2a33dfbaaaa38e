"""Every toy template in the real ComfyUI on this machine's device, at several of the host's flags, against the CPU."""

from __future__ import annotations

import copy
import io
import json
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ...devtools.demo import DemoError, saved_image, set_inputs
from ...devtools.environment import ROOT, find_host
from ...devtools.host import Graph, Host, HostError
from ...pipelines.pictures.sheets import tile
from .findings import Findings, best_device

GRAPHS = ROOT / "example_workflows" / "api"
CPU = "cpu"
FLAGS = {  # of the host, by what they are called here
    "default": [],
    "fp32": ["--force-fp32"],
    "fp16": ["--fp16-unet"],
    "bf16": ["--bf16-unet"],
    "gpu_only": ["--gpu-only"],
    "gpu_only_half": ["--gpu-only", "--fp16-intermediates"],
    "legacy": ["--disable-dynamic-vram"],
    "lowvram": ["--disable-dynamic-vram", "--lowvram"],
    "novram": ["--novram"],
}
ON_A_CPU = ("default",)
ROW = 128  # px, of a picture on the sheet
FEW = 2  # steps where there is no GPU
SETTLED = "euler"  # a sampler whose steps draw no noise, which a GPU draws otherwise than a CPU


def toy_graphs() -> dict[str, Graph]:
    """The templates that need nothing but the pack, by name, with a sampler that can be compared."""
    graphs = {}
    for path in sorted(GRAPHS.glob("*.json")):
        text = path.read_text("utf-8")
        if "PlayroomModels" in text or path.stem.startswith("place_object"):
            graphs[path.stem] = json.loads(text.replace('"euler_ancestral"', f'"{SETTLED}"'))
    return graphs


@dataclass
class Visit:
    """What the templates came to in one host."""

    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    boot: float = 0.0


def seconds_of(entry: dict[str, Any]) -> float:
    """Of a run, by the host's own clock."""
    at = {kind: data["timestamp"] for kind, data in entry["status"]["messages"]}
    return (at["execution_success"] - at["execution_start"]) / 1000


def picture_of(host: Host, graph: Graph, entry: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(host.view(saved_image(graph, entry)))).convert("RGB"))


def visit(host: Host, graphs: dict[str, Graph], findings: Findings, made: Visit) -> None:
    """Run each once, and write down what comes of it as it comes."""
    try:
        made.boot = host.ready()
    except Exception as error:
        made.failures["boot"] = f"{error}\n{host.log()[-5000:]}"
        return
    for name, graph in graphs.items():
        if findings.left() <= 0:
            made.failures[name] = "no time was left"
            continue
        try:
            entry = host.run(graph)
            made.pictures[name] = picture_of(host, graph, entry)
            made.seconds[name] = seconds_of(entry)
        except Exception as error:
            trace = "".join(getattr(error, "data", {}).get("traceback", []))
            made.failures[name] = f"{trace}\n{error}" if isinstance(error, HostError) else f"{error!r}"


def warm(host: Host, graph: Graph) -> float:
    """Seconds of a run with another seed, its models in memory."""
    other = copy.deepcopy(dict(graph))
    set_inputs(other, ("seed", "noise_seed"), 11)
    return seconds_of(host.run(other))


def measure(findings: Findings) -> None:
    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    graphs = toy_graphs()
    gpu = best_device() != CPU
    flags = FLAGS if gpu else {name: FLAGS[name] for name in ON_A_CPU}
    if not gpu:
        findings.fact("note", f"there is no GPU: the hosts below computed {FEW} steps on the CPU")
        for graph in graphs.values():
            for node in graph.values():
                if "steps" in node["inputs"]:
                    node["inputs"]["steps"] = FEW
    variables = {"OMP_NUM_THREADS": "2"}
    hosts = {CPU: Host(home, variables=variables)}
    try:
        for name, own in flags.items():
            hosts[name] = Host(home, cpu=not gpu, flags=own, variables=variables)
        _compare(findings, hosts, graphs)
    finally:
        for host in hosts.values():
            host.stop()


def _compare(findings: Findings, hosts: dict[str, Host], graphs: dict[str, Graph]) -> None:
    with ThreadPoolExecutor(len(hosts)) as pool:
        visits = {name: Visit() for name in hosts}
        started = {name: pool.submit(visit, host, graphs, findings, visits[name]) for name, host in hosts.items()}
        for name, future in started.items():
            try:
                future.result(max(1.0, findings.left()))
            except TimeoutError:
                findings.failure(f"{name}_time", f"It did not end in time.\n{hosts[name].log()[-3000:]}")
                hosts[name].stop()  # which ends its thread as well
    reference = visits[CPU]
    for name, made in visits.items():
        findings.figure(f"{name}_succeeded", len(made.pictures), f"templates of {len(graphs)}")
        findings.fact(f"{name}_first_run_seconds", made.seconds)
        findings.fact(f"{name}_boot_seconds", round(made.boot, 1))
        for graph, text in made.failures.items():
            findings.failure(f"{name}_{graph}", text)
        for graph, picture in made.pictures.items():
            if name != CPU and graph in reference.pictures:
                with findings.attempt(f"{name}_{graph}_compared"):
                    findings.compared(f"{name}_{graph}", picture, reference.pictures[graph])
        log = hosts[name].log() if hosts[name].base.exists() else ""
        words = ("warn", "error", "exception", "nan", "dtype", "device", "vram", "dynamic", "attention")
        findings.fact(f"{name}_log", [line for line in log.splitlines() if any(w in line.lower() for w in words)][-60:])
    with findings.attempt("sheet"):
        findings.picture("sheet", _sheet(visits, list(graphs)))
    for name in ("default", "fp16", "lowvram", CPU):
        for graph in graphs if name in hosts else ():
            if findings.left() > 5 and graph in visits[name].pictures:
                try:
                    findings.figure(f"{name}_{graph}_warm", warm(hosts[name], graphs[graph]), "s, models in memory")
                except DemoError:
                    pass  # nothing is drawn at random in it: the host would give back the picture before
                except Exception as error:
                    findings.failure(f"{name}_{graph}_warm", repr(error))


def _sheet(visits: dict[str, Visit], graphs: list[str]) -> Image.Image:
    """A row of each template, a column of each host."""
    cells = []
    for graph in graphs:
        for made in visits.values():
            picture = Image.fromarray(made.pictures.get(graph, np.zeros((ROW, ROW, 3), np.uint8)))
            cells.append(picture.resize((round(picture.width * ROW / picture.height), ROW)))
    return tile(cells, columns=len(visits), gap=2)
