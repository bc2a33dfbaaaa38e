"""python dev.py demo: put an object into a scene in the real ComfyUI, and keep what it made.

Runs in the environment that dev.py prepared, without torch: the server next door has that.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image

from ..pipelines.output_folders import claim
from ..pipelines.weights.manifest import load_manifest, model_folders, verify
from ..pipelines.whole_files import whole
from .environment import ROOT, find_host
from .host import Graph, Host, HostError, Json, has_gpu
from .pictures import PictureError, png, read_picture, sample_path, sheet, shrink

GRAPHS = ROOT / "example_workflows" / "api"
MODELS = ROOT / "playroom_models"
OUTPUT = ROOT / "output" / "demo"
FILES = ("scene.png", "object.png", "result.png", "mask.png", "sheet.png", "report.json")

WORKFLOWS = {"playroom": "insert_object", "real": "insert_object_real"}
LONGEST_SIDE = {"playroom": 128, "real": 768}  # the models have seen nothing larger

# What an option sets: every node input of one of these names that holds a value, not a link.
INPUTS = {
    "seed": ("seed", "noise_seed"),
    "steps": ("steps",),
    "object_scale": ("object_scale", "cfg_conds"),
    "scene_scale": ("scene_scale", "cfg_cond2_negative"),
}


class DemoError(Exception):
    """One sentence for the user."""


def main() -> int:
    options = parse(sys.argv[1:])
    try:
        return demo(options)
    except (DemoError, HostError, PictureError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("dev.py demo", description=__doc__)
    parser.add_argument("--scene", type=Path, metavar="FILE", help="picture of the scene")
    parser.add_argument("--object", type=Path, metavar="FILE", help="picture of the object")
    parser.add_argument("--seed", type=int, default=5, help="of the noise (default: 5)")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the workflow's)")
    parser.add_argument("--object-scale", type=float, help="guidance towards the object")
    parser.add_argument("--scene-scale", type=float, help="guidance towards the scene")
    parser.add_argument("--workflow", metavar="NAME", help=f"one of: {', '.join(workflows())}")
    parser.add_argument(
        "--models",
        choices=("playroom", "real"),
        default="playroom",
        help="the toy models that ship with the pack (default), or the real weights",
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    parser.add_argument("--port", type=int, default=0, help="of the server (default: a free one)")
    parser.add_argument("--cpu", action="store_true", help="leave the GPU alone")
    parser.add_argument("--keep-serving", action="store_true", help="until Ctrl-C, then stop")
    return parser.parse_args(arguments)


def workflows() -> list[str]:
    return sorted(path.stem for path in GRAPHS.glob("*.json"))


def demo(options: argparse.Namespace) -> int:
    """The whole run: boot, meanwhile prepare the pictures, upload, queue and watch, save."""
    home = find_host()
    assert home, "dev.py sets up the host before it starts the demo"
    graph = read_graph(options.workflow or WORKFLOWS[options.models])
    absent = missing_weights(graph, home) if options.models == "real" else []
    if absent:
        print("These weights are needed and were not found:\n")
        print("\n\n".join(absent))
        return 2
    for option, names in INPUTS.items():
        value = getattr(options, option)
        if value is not None:
            set_inputs(graph, names, value)

    if options.output != OUTPUT:  # a folder of the user's
        claim_folder(options.output)
    clock = Clock()
    with clock("boot"):
        host = start_host(home, options)
    try:
        with clock("pictures"):
            scene, pictures = prepare_pictures(graph, options)
        with clock("boot"):
            host.ready()
        with clock("upload"):
            for node, picture in pictures.items():
                graph[node]["inputs"]["image"] = host.upload(f"{node}.png", png(picture))
        with clock("run"):
            entry = host.run(graph, Progress(graph))
        with clock("save"):
            result_file = host.view(saved_image(graph, entry))
            result = Image.open(io.BytesIO(result_file)).convert("RGB")
            mask = Image.open(io.BytesIO(host.view(changed_image(graph, entry)))).convert("L")
            object_picture = pictures[find_picture_node(graph, "Object")]
            columns = {"scene": scene, "object": object_picture, "result": result, "mask": mask}
            files = {f"{name}.png": png(picture) for name, picture in columns.items()}
            files["result.png"] = result_file  # as the host wrote it: dropped on the canvas it is a graph
            files["sheet.png"] = png(sheet(columns))
            write(options.output, files)
        report = describe(options, graph, entry=entry, host=host, clock=clock)
        report["changed_share"] = round(1 - mask.histogram()[0] / (mask.width * mask.height), 4)
        write(options.output, {"report.json": (json.dumps(report, indent=2) + "\n").encode()})
        tell(options, report, [*files, "report.json"])
        if options.keep_serving:
            print(f"Serving at {host.url} until Ctrl-C.", flush=True)
            host.process.wait()
    except KeyboardInterrupt:
        print("\ndemo: stopped")
        return 130
    finally:
        host.stop()
    return 0


def start_host(home: Path, options: argparse.Namespace) -> Host:
    cpu = options.cpu or not has_gpu()
    # Toys gain nothing from a second thread and lose everything when another program has the core.
    variables = {"OMP_NUM_THREADS": "1"} if cpu and options.models == "playroom" else {}
    print(f"Starting ComfyUI on {'the CPU' if cpu else 'the GPU'} ...", flush=True)
    return Host(home, models=home / "models", port=options.port, cpu=cpu, variables=variables)


class Clock:
    """Seconds per stage; a stage may be entered again."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.started = time.monotonic()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - start


# the graph


def read_graph(name: str) -> Graph:
    try:
        return json.loads((GRAPHS / f"{name}.json").read_text("utf-8"))
    except FileNotFoundError:
        names = ", ".join(workflows()) or "none"
        raise DemoError(f"there is no workflow '{name}'; there are: {names}") from None


def set_inputs(graph: Graph, names: Sequence[str], value: float) -> None:
    places = list(value_inputs(graph, names))
    for inputs, name in places:
        inputs[name] = value
    if not places:
        raise DemoError(f"this workflow has no {' or '.join(names)} to set")


def value_inputs(graph: Graph, names: Sequence[str]) -> Iterator[tuple[Json, str]]:
    """Where inputs of these names hold a value, not a link: the inputs of a node, and the name."""
    for node in graph.values():
        for name in names:
            if name in node["inputs"] and not isinstance(node["inputs"][name], list):
                yield node["inputs"], name


def title(node: Json) -> str:
    return node.get("_meta", {}).get("title", node["class_type"])


def find_picture_node(graph: Graph, name: str) -> str:
    for number, node in graph.items():
        if node["class_type"] == "LoadImage" and title(node) == name:
            return number
    raise DemoError(f"this workflow has no LoadImage titled '{name}'")


def saved_image(graph: Graph, entry: Json) -> dict[str, str]:
    """The first picture of the last SaveImage node."""
    outputs = [entry["outputs"][number] for number in graph if graph[number]["class_type"] == "SaveImage"]
    if not outputs:
        raise DemoError("this workflow has no SaveImage")
    return outputs[-1]["images"][0]


def changed_image(graph: Graph, entry: Json) -> dict[str, str]:
    """The picture of the node that shows what changed."""
    for number, node in graph.items():
        if node["class_type"] == "MaskPreview" and title(node) == "What changed":
            return entry["outputs"][number]["images"][0]
    raise DemoError("this workflow has no MaskPreview titled 'What changed'")


def missing_weights(graph: Graph, home: Path) -> list[str]:
    """For each weight file that the graph names and the host has not: what it is, how to get it.

    Sizes are checked, hashes are not: `weights verify` does that, in minutes.
    """
    extra = home / "extra_model_paths.yaml"
    folders = model_folders(home / "models", extra if extra.is_file() else None)
    names = set(texts(graph))
    weights = [weight for weight in load_manifest().values() if weight.file in names]
    reports = [verify(weight, folders, check_hash=False) for weight in weights]
    return [f"{report.id}: {report.detail}" for report in reports if not report.usable]


def texts(graph: Graph) -> list[str]:
    """The inputs of all nodes that are texts, among them names of files."""
    values = chain.from_iterable(node["inputs"].values() for node in graph.values())
    return [value for value in values if isinstance(value, str)]


# pictures


def prepare_pictures(graph: Graph, options: argparse.Namespace) -> tuple[Image.Image, dict[str, Image.Image]]:
    """The scene, and what each LoadImage node gets: the user's pictures, or our samples."""
    scene = find_picture_node(graph, "Scene")
    files = {scene: options.scene, find_picture_node(graph, "Object"): options.object}
    is_cut_out = any(node["class_type"] == "LocalRegionCrop" for node in graph.values())
    pictures = {}
    for number, node in graph.items():
        if node["class_type"] == "LoadImage":
            sample = sample_path(node["inputs"]["image"])
            if files.get(number):
                picture = read_picture(files[number])
            elif sample.is_file():
                picture = read_picture(sample)
            else:
                picture = draw_sample(len(pictures), is_scene=number == scene)
            if number != scene or not is_cut_out:  # what is cut out of a scene gets the model's size later
                picture = shrink(picture, LONGEST_SIDE[options.models])
            pictures[number] = picture
    return pictures[scene], pictures


def draw_sample(seed: int, is_scene: bool) -> Image.Image:
    """A scene or an object out of the playroom, where no sample lies in its folder."""
    from ..pipelines.playroom.world.triplets import make_triplet

    triplet = make_triplet(seed, views=1)
    return Image.fromarray(triplet.scene if is_scene else triplet.objects[0])


def claim_folder(folder: Path) -> None:
    """Raise DemoError for a folder with files of our names that are not ours."""
    try:
        claim(folder, "demo", FILES)
    except ValueError as error:
        raise DemoError(str(error)) from None
    except OSError as error:
        raise DemoError(f"the results cannot be written: {error}") from None


def write(folder: Path, files: dict[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            with whole(folder / name) as part:
                part.write_bytes(data)
    except OSError as error:
        raise DemoError(f"the results cannot be written: {error}") from None


# telling


class Progress:
    """Prints the server's own messages: which node runs, and its steps."""

    def __init__(self, graph: Graph, write: Callable[[str], object] = sys.stdout.write):
        self.graph = graph
        self.write = write
        self.live = sys.stdout.isatty()
        self.open = False  # whether the current line is a bar
        self.quarter = 0  # of the steps, the last one told

    def __call__(self, event: str, data: Any) -> None:
        if event == "executing" and data.get("node") in self.graph:
            self._end()
            self.write(f"  {title(self.graph[data['node']])}\n")
        elif event == "progress" and data.get("node") in self.graph:
            self._bar(data["value"], data["max"])
        elif event == "executing":
            self._end()
        sys.stdout.flush()

    def _bar(self, value: int, total: int) -> None:
        if self.live:
            done = round(30 * value / total)
            self.write(f"\r    [{'#' * done}{'.' * (30 - done)}] {value}/{total} steps")
            self.open = True
            return
        quarter = 4 * value // total
        if quarter > self.quarter:
            self.write(f"    {value}/{total} steps\n")
            self.quarter = quarter

    def _end(self) -> None:
        if self.open:
            self.write("\n")
        self.open = False
        self.quarter = 0


def describe(options: argparse.Namespace, graph: Graph, *, entry: Json, host: Host, clock: Clock) -> Json:
    """The contents of report.json."""
    system = host.get("/system_stats")
    values = {}
    for option, names in INPUTS.items():
        for inputs, name in value_inputs(graph, names):
            values[option] = inputs[name]
    outputs = entry["outputs"].values()
    counts = [sum(output["unet_evaluations"]) for output in outputs if "unet_evaluations" in output]
    return {
        "workflow": options.workflow or WORKFLOWS[options.models],
        **values,
        "unet_evaluations": sum(counts) if counts else None,
        "seconds": {stage: round(value, 2) for stage, value in clock.seconds.items()},
        "seconds_total": round(time.monotonic() - clock.started, 2),
        "comfyui": system["system"]["comfyui_version"],
        "torch": system["system"]["pytorch_version"],
        "python": system["system"]["python_version"].split()[0],
        "device": system["devices"][0]["name"],
        "models": options.models,
        "model_files": model_versions() if options.models == "playroom" else weight_names(graph),
        "mask": "how much of each pixel is new, as Restore Scene says; where it is black the pixel is the scene's",
    }


def model_versions() -> dict[str, str]:
    """The first digits of the SHA-256 of each playroom model."""
    return {
        path.relative_to(MODELS).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(MODELS.rglob("*.safetensors"))
    }


def weight_names(graph: Graph) -> list[str]:
    return sorted({text for text in texts(graph) if text.endswith(".safetensors")})


def tell(options: argparse.Namespace, report: Json, files: list[str]) -> None:
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in report["seconds"].items())
    print(f"\nDone in {report['seconds_total']:.1f} s ({stages}). It is in {options.output}:")
    print("  " + ", ".join(files))
    if options.models == "playroom":
        print(
            "The playroom models are toys: they have seen drawn rooms, no photographs."
            "\nFor those: python dev.py demo --models real"
        )
    print("To open the graph in the browser: python dev.py serve")
