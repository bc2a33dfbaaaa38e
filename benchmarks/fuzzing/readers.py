"""Who reads what people hand over, each with an undamaged example and how to damage it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from ...devtools.pack import ROOT
from . import mutators
from .mutators import BYTES, Damage

MODELS = ROOT / "playroom_models"
Check = Callable[[Any, Path], bool]


@dataclass(frozen=True)
class Reader:
    """A way in: `write` puts an undamaged example below a folder, `read` reads what lies there.

    `damage` has what may happen to each of the files. What is read from a damaged one must be `right`: equal to what is
    in the undamaged one, or to what another reader finds in the file.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], Any]
    damage: Mapping[str, tuple[Damage, ...]]
    right: Check = lambda value, folder: True
    weight: int = 10  # how many inputs it gets, of the sum of all
    refuses: bool = False  # the undamaged one as well
    place: Path | None = None  # where its files lie; None takes a folder of its own


def _same_tensors(state: Mapping[str, Tensor], file: Path) -> bool:
    """Whether a network holds what plain safetensors reads from its file, prefixes aside."""
    stored = load_file(file)
    wanted = {
        name.split(".", 1)[-1] if name.startswith(("module.", "_orig_mod.", "unet.")) else name: t
        for name, t in stored.items()
    }
    common = [name for name in state if name in stored or name in wanted]
    values = {**wanted, **stored}
    return bool(common) and all(torch.equal(state[name].float(), values[name].float()) for name in common)


# weights of ours


def _copy(name: str, folder: Path, to: str) -> None:
    (folder / to).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(MODELS / name, folder / to)


def _read_optimizer(folder: Path) -> Any:
    from ...pipelines.visual_insertion import optimizer_files

    return optimizer_files.load(folder / "o.safetensors")


def _optimizer_is_right(network: Any, folder: Path) -> bool:
    from safetensors import safe_open

    with safe_open(folder / "o.safetensors", framework="pt") as file:
        settings = json.loads(file.metadata()["settings"])
    own = asdict(network.settings)
    return all(own[name] == value and type(own[name]) is type(value) for name, value in settings.items()) and (
        _same_tensors(network.state_dict(), folder / "o.safetensors")
    )


def _write_learned(folder: Path) -> None:
    from ...pipelines.object_representation.learned_object import LearnedObject, save

    generator = torch.Generator().manual_seed(1)
    patch = {f"lora_unet_x_attn2_to_k.{end}": torch.randn(4, 4, generator=generator) for end in ("diff", "set_weight")}
    tokens, null = torch.randn(4, 8, generator=generator).split((3, 1))
    save(LearnedObject(tokens, null, patch, "[0.5,-1.0]"), folder / "l.safetensors")


def _read_learned(folder: Path) -> Any:
    from ...pipelines.object_representation import learned_object

    return learned_object.load(folder / "l.safetensors")


def _read_exemplar_encoder(folder: Path) -> Any:
    from ...pipelines.paint_by_example import exemplar_encoder

    return exemplar_encoder.load(folder / "e.safetensors")


def _write_released(folder: Path) -> None:
    chance = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance) * 0.02

    width = 32
    state = {
        "attention_pooling.in_proj_weight": draw(3 * width, width),
        "attention_pooling.in_proj_bias": draw(3 * width),
        "attention_pooling.out_proj.weight": draw(width, width),
        "attention_pooling.out_proj.bias": draw(width),
        "projection_layer.weight": draw(width, width),
        "projection_layer.bias": draw(width),
    }
    for number in (1, 2):
        state |= {f"mlp_fc{number}.weight": draw(width, width), f"mlp_fc{number}.bias": draw(width)}
    torch.save(state, folder / "o.pt")


def _read_released(folder: Path) -> Any:
    from ...pipelines.visual_insertion import optimizer_files

    return optimizer_files.load(folder / "o.pt")


def _released_is_right(network: Any, folder: Path) -> bool:
    """Every number of the undamaged file is in the network, whatever else the damaged one holds."""
    undamaged = folder / "undamaged"
    undamaged.mkdir(exist_ok=True)
    _write_released(undamaged)
    state = torch.load(undamaged / "o.pt", weights_only=True)
    wanted = sum(tensor.double().sum().item() for tensor in state.values())
    own = {name: tensor for name, tensor in network.state_dict().items() if name not in ("queries", "null")}
    return abs(sum(tensor.double().sum().item() for tensor in own.values()) - wanted) < 1e-3


PATCHED = {"a.attn2.to_k.weight": (12, 8), "a.attn2.to_out.0.weight": (12, 12), "a.attn2.to_out.0.bias": (12,)}


def _write_patch(folder: Path) -> None:
    from ...pipelines.weights.unet_patch import save_patch

    chance = torch.Generator().manual_seed(0)
    save_patch(folder / "p.safetensors", {name: torch.randn(*s, generator=chance) for name, s in PATCHED.items()})


def _read_patch(folder: Path) -> Any:
    from ...pipelines.weights.unet_patch_reading import read_patch

    return read_patch(folder / "p.safetensors", PATCHED)


def _patch_is_right(differences: Any, folder: Path) -> bool:
    stored = {tuple(tensor.shape): tensor.float() for tensor in load_file(folder / "p.safetensors").values()}
    return all(torch.equal(change, stored[tuple(change.shape)]) for change in differences.values())


def _write_record(folder: Path) -> None:
    models = {"base": "playroom_models", "image_encoder": None}
    (folder / "run.json").write_text(json.dumps({"configuration": {"models": models}, "seed": 0}), encoding="utf-8")


def _read_record(folder: Path) -> Any:
    from ...pipelines.training.run_record import models_of_run

    return models_of_run(folder)


def _record_is_right(models: Any, folder: Path) -> bool:
    return isinstance(models, dict) and all(isinstance(path, str) for path in models.values())


# folders of models


def _write_unet(folder: Path) -> None:
    shutil.copytree(MODELS / "unet", folder / "unet")
    shutil.copytree(MODELS / "scheduler", folder / "scheduler")


def _open_unet(folder: Path) -> dict[str, Tensor]:
    from ...pipelines.weights.unets import open_unet

    return dict(open_unet(folder / "unet").read())


def _unet_is_right(state: dict[str, Tensor], folder: Path) -> bool:
    stored = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    return len(state) == len(stored) and sum(t.double().sum().item() for t in state.values()) == sum(
        t.double().sum().item() for t in stored.values()
    )


def _write_inserter(folder: Path) -> None:
    ignored = shutil.ignore_patterns("samples", "judge*", "paint_by_example", "*.md")
    shutil.copytree(MODELS, folder, dirs_exist_ok=True, ignore=ignored)


def _read_inserter(folder: Path) -> Any:
    from ...pipelines.visual_insertion.pipeline import VisualInsertionPipeline

    return VisualInsertionPipeline.from_folder(folder)


def _inserter_is_right(pipeline: Any, folder: Path) -> bool:
    return _same_tensors(pipeline.pipeline.unet.state_dict(), folder / "unet" / "diffusion_pytorch_model.safetensors")


def _write_painter(folder: Path) -> None:
    shutil.copytree(MODELS, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("samples", "judge*", "*.md"))


def _read_painter(folder: Path) -> Any:
    from ...pipelines.paint_by_example.pipeline import PaintByExamplePipeline

    return PaintByExamplePipeline.from_folder(folder / "paint_by_example")


# pictures


def _write_picture(kind: str, mode: str, folder: Path) -> None:
    x = np.linspace(0, 255, 48, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(x[:, None], x[None], np.uint8(99)), -1)
    Image.fromarray(pixels).convert(mode).save(folder / "picture", kind)


def _read_picture(folder: Path) -> Tensor:
    from ...pipelines.pictures.files import picture_tensor
    from ...pipelines.pictures.opening import open_picture

    return picture_tensor(open_picture(folder / "picture"))


def _is_picture(value: Tensor, folder: Path) -> bool:
    """In shape, range and kind; that pixels of JPEG and its like are the undamaged ones, no reader can know."""
    return value.ndim == 4 and value.shape[-1] in (1, 3, 4) and bool(((value >= 0) & (value <= 1)).all())


def _is_that_picture(value: Tensor, folder: Path) -> bool:
    """PNG has checksums: what is read is the undamaged picture, unless another whole picture was written there."""
    x = torch.linspace(0, 255, 48).to(torch.uint8).float() / 255
    return _is_picture(value, folder) and (tuple(value.shape) != (1, 48, 48, 3) or torch.equal(value[0, :, 0, 0], x))


# texts


def _write_config(folder: Path) -> None:
    recipe = ROOT / "pipelines" / "visual_insertion" / "training" / "recipes" / "playroom.yaml"
    (folder / "config.yaml").write_text(json.dumps(yaml.safe_load(recipe.read_text("utf-8"))), "utf-8")


def _read_config(folder: Path) -> Any:
    from ...pipelines.commands import train

    return train.read(folder / "config.yaml")[1]


def _config_is_right(config: Any, folder: Path) -> bool:
    """Every entry of the file is in the configuration as it is in the file."""

    def agrees(own: Any, said: Any) -> bool:
        if isinstance(said, dict):
            return all(agrees(getattr(own, name), value) for name, value in said.items())
        if isinstance(own, Path):
            return own == Path(said).expanduser()
        if isinstance(own, float):
            return own == float(said)
        return own == (tuple(said) if isinstance(said, list) else said)

    said = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
    said.pop("method", None)
    return agrees(config, said)


def _write_triplets(folder: Path) -> None:
    names = []
    for number in range(3):
        stem = f"{number:03}"
        for name in ("scene", "target", "object"):
            Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / f"{stem}_{name}.png")
        files = {"scene_file_name": f"{stem}_scene.png", "target_file_name": f"{stem}_target.png"}
        names.append({"id": stem, **files, "object_file_names": [f"{stem}_object.png"]})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, names)), "utf-8")


def _read_triplets(folder: Path) -> Any:
    from ...pipelines.triplets.folder import read_folder

    return read_folder(folder)


def _triplets_are_right(triplets: Any, folder: Path) -> bool:
    return all(path.is_file() for triplet in triplets for path in triplet.pictures)


def _write_boxes(folder: Path) -> None:
    lines = []
    for number in range(3):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(folder / f"{number}.png")
        lines.append({"file_name": f"{number}.png", "objects": {"bbox": [[4, 5, 20, 16.5]], "category": ["ball"]}})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")


def _read_boxes(folder: Path) -> Any:
    from ...pipelines.paint_by_example.training.box_folder import read_folder

    return read_folder(folder)


def _boxes_are_right(boxes: Any, folder: Path) -> bool:
    def inside(box: list[int]) -> bool:
        x0, y0, x1, y1 = box
        return 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 48

    return all(inside(box) for picture in boxes.pictures for box in picture.boxes.tolist())


def _write_manifest(folder: Path) -> None:
    shutil.copy(ROOT / "weights_manifest.json", folder / "manifest.json")


def _read_manifest(folder: Path) -> Any:
    from ...pipelines.weights.manifest import load_manifest

    return load_manifest(folder / "manifest.json")


def _manifest_is_right(known: Any, folder: Path) -> bool:
    """No file of it lies outside of the models folder."""
    models = Path("/models")
    return all((models / w.folder / w.file).resolve().is_relative_to(models) for w in known.values())


def _write_extra_paths(folder: Path) -> None:
    table = {"comfyui": {"base_path": str(folder), "diffusion_models": "models/unet\nmodels/more", "clip_vision": "x"}}
    (folder / "extra.yaml").write_text(json.dumps(table), "utf-8")


def _read_extra_paths(folder: Path) -> Any:
    from ...pipelines.weights.manifest import read_extra_paths

    return read_extra_paths(folder / "extra.yaml")


def _write_checkpoint(folder: Path) -> None:
    from diffusers.training_utils import EMAModel

    from ...pipelines.training import checkpoint

    network, average, optimizer = _tiny()
    assert isinstance(average, EMAModel)
    checkpoint.save(folder, network, average, optimizer, step=3, looked=0, history=[], seconds=1.0, facts={"a": "b"})


def _tiny() -> tuple[Any, Any, Any]:
    from diffusers.training_utils import EMAModel

    torch.manual_seed(0)
    network = torch.nn.Linear(3, 3)
    return network, EMAModel(network.parameters()), torch.optim.AdamW(network.parameters())


def _read_checkpoint(folder: Path) -> Any:
    from ...pipelines.training import checkpoint

    network, average, optimizer = _tiny()
    checkpoint.load(folder, network, average, optimizer, device=torch.device("cpu"), facts={"a": "b"})
    return network


def _checkpoint_is_right(network: Any, folder: Path) -> bool:
    undamaged = _tiny()[0].state_dict()
    return all(torch.equal(tensor, undamaged[name]) for name, tensor in network.state_dict().items())


def _write_build(folder: Path) -> None:
    (folder / "units").mkdir()
    (folder / "train").mkdir()
    shard = folder / "train" / "000000.parquet"
    shard.write_bytes(b"x" * 10)
    from ...pipelines.triplets.report import Report

    content = {**Report(rows=3).to_json(), "shards": {"train/000000.parquet": 10}, "bad": []}
    (folder / "units" / "000000.json").write_text(json.dumps(content), "utf-8")


def _read_build(folder: Path) -> Any:
    from ...pipelines.triplets.report import Report
    from ...pipelines.triplets.shards import read_report

    content = read_report(folder, 0)
    if content is None:
        raise ValueError(f"{folder}: the unit is built anew")
    return Report.from_json(content)


def _write_stored(folder: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (9, 8, 7)).save(buffer, "PNG")
    (folder / "row.bin").write_bytes(buffer.getvalue())


def _read_stored(folder: Path) -> Any:
    from ...pipelines.triplets.row import RowError, decode

    try:
        return decode({"bytes": (folder / "row.bin").read_bytes(), "path": None}, "scene")
    except RowError as error:  # counted and named by the builder
        raise ValueError(f"{folder}: {error.reason}") from error


def _json(*names: str) -> dict[str, tuple[Damage, ...]]:
    return {name: (mutators.odd_json,) for name in names}


UNET = "unet/diffusion_pytorch_model.safetensors"
CONFIGS = _json("unet/config.json", "scheduler/scheduler_config.json")
PAINTER = "paint_by_example/unet/config.json"
PICTURES = {
    "PNG": ("RGB", _is_that_picture),
    "JPEG": ("RGB", _is_picture),
    "WEBP": ("RGB", _is_picture),
    "TIFF": ("RGB", _is_picture),
    "BMP": ("RGB", _is_picture),
    "GIF": ("P", _is_picture),
    "PPM": ("RGB", _is_picture),
    "AVIF": ("RGB", _is_picture),
    "ICO": ("RGBA", _is_picture),
    "TGA": ("RGB", _is_picture),
    "EPS": ("RGB", _is_picture),
    "JPEG2000": ("RGB", _is_picture),
}

READERS = (
    Reader(
        "embedding optimizer",
        partial(_copy, "embedding_optimizer.safetensors", to="o.safetensors"),
        _read_optimizer,
        {"o.safetensors": mutators.WEIGHTS},
        _optimizer_is_right,
        weight=30,
    ),
    Reader(
        "released embedding optimizer",
        _write_released,
        _read_released,
        {"o.pt": (mutators.odd_pickle,)},
        _released_is_right,
        15,
    ),
    Reader(
        "exemplar encoder",
        partial(_copy, "paint_by_example/exemplar_encoder.safetensors", to="e.safetensors"),
        _read_exemplar_encoder,
        {"e.safetensors": mutators.WEIGHTS},
        lambda network, folder: _same_tensors(network.state_dict(), folder / "e.safetensors"),
        weight=15,
    ),
    Reader(
        "learned object",
        _write_learned,
        _read_learned,
        {"l.safetensors": mutators.WEIGHTS},
        lambda learned, folder: _same_tensors(learned.patch, folder / "l.safetensors"),
        15,
    ),
    Reader("UNet patch", _write_patch, _read_patch, {"p.safetensors": mutators.WEIGHTS}, _patch_is_right, 15),
    Reader("record of a run", _write_record, _read_record, _json("run.json"), _record_is_right),
    Reader("UNet folder", _write_unet, _open_unet, {UNET: mutators.WEIGHTS}, _unet_is_right, weight=5),
    Reader(
        "insertion pipeline", _write_inserter, _read_inserter, CONFIGS | {UNET: mutators.WEIGHTS}, _inserter_is_right, 3
    ),
    Reader("Paint by Example pipeline", _write_painter, _read_painter, _json(PAINTER), weight=3),
    *(
        Reader(
            f"picture, {kind}",
            partial(_write_picture, kind, mode),
            _read_picture,
            {"picture": (*BYTES, mutators.flip_early)},
            right,
            weight=8,
            refuses=kind in ("ICO", "TGA", "EPS"),
        )
        for kind, (mode, right) in PICTURES.items()
    ),
    Reader("picture in a row", _write_stored, _read_stored, {"row.bin": BYTES}, weight=8),
    Reader("training configuration", _write_config, _read_config, _json("config.yaml"), _config_is_right, 30),
    Reader(
        "triplets' index",
        _write_triplets,
        _read_triplets,
        {"metadata.jsonl": (mutators.odd_lines,)},
        _triplets_are_right,
        15,
    ),
    Reader("boxes' index", _write_boxes, _read_boxes, {"metadata.jsonl": (mutators.odd_lines,)}, _boxes_are_right, 15),
    Reader("unit of a build", _write_build, _read_build, _json("units/000000.json"), weight=15),
    Reader(
        "checkpoint",
        _write_checkpoint,
        _read_checkpoint,
        {"state.pt": (mutators.odd_pickle,)},
        _checkpoint_is_right,
        10,
    ),
    Reader("weights manifest", _write_manifest, _read_manifest, _json("manifest.json"), _manifest_is_right, 25),
    Reader("extra model paths", _write_extra_paths, _read_extra_paths, _json("extra.yaml"), weight=10),
)


def node_readers(comfy: Any) -> tuple[Reader, ...]:
    """The same files through the nodes of a real host, `comfy` being it in this process."""
    models = comfy.base / "models"
    optimizers = models / "embedding_optimizers"
    folder = models / "diffusers" / "fuzzed"
    optimizers.mkdir(parents=True, exist_ok=True)

    def read_unet(_: Path) -> Any:
        return comfy("Pix2PixUNetLoader", name="fuzzed")[0]

    return (
        Reader(
            "Load Embedding Optimizer",
            partial(_copy, "embedding_optimizer.safetensors", to="o.safetensors"),
            lambda _: comfy("EmbeddingOptimizerLoader", name="o.safetensors")[0],
            {"o.safetensors": mutators.WEIGHTS},
            weight=10,
            place=optimizers,
        ),
        Reader(
            "Load Embedding Optimizer, released",
            _write_released,
            lambda _: comfy("EmbeddingOptimizerLoader", name="o.pt")[0],
            {"o.pt": (mutators.odd_pickle,)},
            weight=5,
            place=optimizers,
        ),
        Reader("Load Pix2Pix UNet", _write_unet, read_unet, CONFIGS | {UNET: mutators.WEIGHTS}, weight=3, place=folder),
    )
