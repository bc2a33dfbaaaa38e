"""Which optimizer, encoder and UNet the doctor says belong together, without reading their weights."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.doctor import pairing
from visual_insertion_pack.pipelines.doctor.check import OK, PROBLEM, SKIPPED, WARNING
from visual_insertion_pack.pipelines.doctor.installation import DIFFUSERS, Installation
from visual_insertion_pack.pipelines.visual_insertion import optimizer_files
from visual_insertion_pack.pipelines.visual_insertion.embedding_optimizer import OptimizerSettings, build
from visual_insertion_pack.pipelines.weights.manifest import model_folders

TOYS = ROOT / "playroom_models"
CLIP = {"vision_model.embeddings.class_embedding": (1024,), "vision_model.embeddings.patch_embedding.weight": (9, 9)}
UNET = "model.diffusion_model.input_blocks"
PIX2PIX = {f"{UNET}.0.0.weight": (320, 8, 3, 3), f"{UNET}.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768)}


@pytest.fixture
def installation(tmp_path):
    return Installation(None, {**model_folders(tmp_path), DIFFUSERS: [tmp_path / DIFFUSERS]}, program="vi")


def promise(path, shapes, gigabytes=0):
    """A safetensors file that names these tensors and is a hole where their numbers would be, as large as it says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header, end = {}, 0
    for name, shape in [*shapes.items(), ("the rest", (gigabytes * 10**9 // 4 + 1,))]:
        start, end = end, end + 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(file.tell() + end)


def optimizer(folder, encoder_width=1024, context_width=768):
    folder.mkdir(exist_ok=True)
    settings = OptimizerSettings("resampler", encoder_width, context_width, 4, blocks=1, heads=4)
    optimizer_files.save(build(settings), folder / "mine.safetensors")


def told(installation):
    return list(pairing.pairings(installation))


def test_nothing_there_is_no_problem(installation):
    (one,) = told(installation)
    assert one.state == SKIPPED


def test_parts_that_belong_together_are_named(installation, tmp_path):
    optimizer(tmp_path / "embedding_optimizers")
    promise(tmp_path / "clip_vision" / "vit" / "clip.safetensors", CLIP)
    promise(tmp_path / "checkpoints" / "pix2pix.safetensors", PIX2PIX)
    promise(tmp_path / "checkpoints" / "text.safetensors", PIX2PIX | {f"{UNET}.0.0.weight": (320, 4, 3, 3)})
    (one,) = told(installation)
    assert one.state == OK
    assert one.found == (
        "mine.safetensors joins vision tokens of width 1024 to contexts of width 768: vit/clip.safetensors, "
        "pix2pix.safetensors"
    )


def test_gigabytes_are_not_read(installation, tmp_path):
    optimizer(tmp_path / "embedding_optimizers")
    promise(tmp_path / "clip_vision" / "clip.safetensors", CLIP, gigabytes=7)
    promise(tmp_path / "diffusion_models" / "pix2pix.safetensors", PIX2PIX, gigabytes=7)
    (one,) = told(installation)
    assert one.state == OK


@pytest.mark.parametrize(
    ("parts", "said", "fetched"),
    [
        ({}, "no vision encoder and no UNet fits", "clip-vit-large-patch14 instruct-pix2pix-pruned-fp16"),
        ({"clip_vision": CLIP}, "no UNet fits", "instruct-pix2pix-pruned-fp16"),
        (
            {"clip_vision": {"embeddings.cls_token": (1, 1, 1536)}, "checkpoints": PIX2PIX},
            "no vision encoder fits; of another width: part.safetensors",
            "clip-vit-large-patch14",
        ),
    ],
)
def test_what_is_lacking_is_said_with_the_command_that_fetches_it(installation, tmp_path, parts, said, fetched):
    optimizer(tmp_path / "embedding_optimizers")
    for folder, shapes in parts.items():
        promise(tmp_path / folder / "part.safetensors", shapes)
    (one,) = told(installation)
    assert one.state == WARNING and said in one.found
    assert one.advice.endswith(f"vi weights fetch {fetched}")


def test_parts_without_an_optimizer_are_said(installation, tmp_path):
    promise(tmp_path / "clip_vision" / "clip.safetensors", CLIP)
    (one,) = told(installation)
    assert one.state == WARNING and one.found == "no embedding optimizer for clip.safetensors"


def test_a_damaged_optimizer_is_a_problem_and_the_others_are_still_paired(installation, tmp_path):
    optimizer(tmp_path / "embedding_optimizers")
    (tmp_path / "embedding_optimizers" / "damaged.safetensors").write_bytes(b"<html>404</html>")
    damaged, other = told(installation)
    assert damaged.state == PROBLEM and "is not a readable safetensors file" in damaged.found
    assert other.state == WARNING


def test_a_damaged_or_foreign_file_is_no_part(installation, tmp_path):
    optimizer(tmp_path / "embedding_optimizers")
    for folder in ("clip_vision", "checkpoints", "diffusion_models"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.safetensors").write_bytes(b"<html>404</html>")
        (tmp_path / folder / "put_models_here").touch()
        promise(tmp_path / folder / "b.safetensors", {"double_blocks.0.weight": (3, 3)})
    (one,) = told(installation)
    assert one.found.endswith("no vision encoder and no UNet fits")


@pytest.mark.parametrize("place", ["toys", "someone/toys/unet"])
def test_diffusers_folders_count_as_the_loader_names_them(installation, tmp_path, place):
    optimizer(tmp_path / "embedding_optimizers", 128, 128)
    folder = tmp_path / DIFFUSERS / place
    shutil.copytree(TOYS / "unet" if place.endswith("unet") else TOYS, folder)
    names = [part.name for part in pairing.pix2pix_unets(installation)]
    assert names == [str(Path(place).parent if place.endswith("unet") else place)]


def test_the_shipped_optimizer_pairs_with_the_shipped_models(installation, tmp_path):
    shutil.copytree(TOYS, tmp_path / DIFFUSERS / "toys")
    folders = {**installation.folders, "embedding_optimizers": [TOYS], "clip_vision": [TOYS / "image_encoder"]}
    shipped = [one for one in told(replace(installation, folders=folders)) if "embedding_optimizer" in one.found]
    assert [one.state for one in shipped] == [OK]
