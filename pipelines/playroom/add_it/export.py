"""What a training run leaves, in few files of at most 16 MB each, and the public folders made of them.

A run writes transformer-1-of-2.safetensors, transformer-2-of-2.safetensors (diffusers' names), networks.safetensors
(vae., text_encoder., picture_words., detector.), all in float16, and report.json. `assemble` makes the layout of
diffusers' FluxPipeline of them:

    python devtools/pack.py pipelines.playroom.add_it.export RUN FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from safetensors.torch import load_file
from torch import Tensor, nn

from ...weights.writing import save_tensors
from ...whole_files import write_text
from .detector import Detector
from .models import Networks
from .tokenizer import write_tokenizer

PARTS = ("transformer-1-of-2.safetensors", "transformer-2-of-2.safetensors")
NETWORKS = "networks.safetensors"
REPORT = "report.json"
NOTES = {"licence": "Apache-2.0", "training_data": "playroom"}

Report = dict[str, Any]


def _half(network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    return {f"{prefix}{name}": value.half().cpu() for name, value in network.state_dict().items()}


def save_run(folder: Path, networks: Networks, vae: AutoencoderKL, detector: Detector, report: Report) -> None:
    """Write a run's weights and its report with the networks' configs, each file whole; what is there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = _half(networks.transformer)
    for name, part in zip(PARTS, _halves(weights), strict=True):
        save_tensors(folder / name, part, NOTES)
    others = {
        **_half(vae, "vae."),
        **_half(networks.text_encoder, "text_encoder."),
        **_half(networks.picture_words, "picture_words."),
        **_half(detector, "detector."),
    }
    save_tensors(folder / NETWORKS, others, NOTES)
    report["configs"] = {
        "transformer": dict(networks.transformer.config),
        "vae": dict(vae.config),
        "text_encoder": networks.text_encoder.settings,
    }
    save_report(folder, report)


def save_report(folder: Path, report: Report) -> None:
    """Write report.json, whole."""
    write_text(folder / REPORT, json.dumps(report, indent=2, default=str) + "\n")


def _halves(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors in two parts of about the same size, each in the order of the names."""
    first: dict[str, Tensor] = {}
    second: dict[str, Tensor] = {}
    most = sum(value.numel() for value in weights.values()) / 2
    size = 0
    for name, value in sorted(weights.items()):
        size += value.numel()
        (first if size <= most else second)[name] = value
    return first, second


def _part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _network(kind: Any, config: Report, weights: dict[str, Tensor]) -> Any:
    public = {name: value for name, value in config.items() if not name.startswith("_")}
    network = kind.from_config(public)
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    return network.half()


def assemble(run: Path, folder: Path) -> None:
    """Make of a run's files a folder of diffusers' FluxPipeline, with picture_words and detector beside it.

    Raises OSError for what is missing.
    """
    report = json.loads((run / REPORT).read_text(encoding="utf-8"))
    configs = report.pop("configs")
    transformer: dict[str, Tensor] = {}
    for name in PARTS:
        transformer |= load_file(run / name)
    others = load_file(run / NETWORKS)
    _network(FluxTransformer2DModel, configs["transformer"], transformer).save_pretrained(folder / "transformer")
    _network(AutoencoderKL, configs["vae"], _part(others, "vae.")).save_pretrained(folder / "vae")
    save_text_encoder(folder / "text_encoder", configs["text_encoder"], _part(others, "text_encoder."))
    write_tokenizer(folder / "tokenizer")
    for name in ("picture_words", "detector"):
        save_tensors(folder / f"{name}.safetensors", _part(others, f"{name}."), NOTES)
    write_text(folder / "training.json", json.dumps(report, indent=2) + "\n")


def save_text_encoder(folder: Path, settings: Report, weights: dict[str, Tensor]) -> None:
    """Write a text encoder as transformers' CLIPTextModel is published: config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "dtype": "float16", **settings}
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    named = {f"text_model.{name}": value.half() for name, value in weights.items()}
    save_tensors(folder / "model.safetensors", named, {"format": "pt"})


def load_detector(path: Path) -> Detector:
    """The detector, from a folder's detector.safetensors. Raises OSError, RuntimeError."""
    detector = Detector()
    detector.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return detector.eval()


def main() -> None:
    torch.set_grad_enabled(False)
    assemble(Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
