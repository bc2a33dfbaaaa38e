"""Training at the size of Stable Diffusion 1.5 with random weights, as the shipped recipe would run it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from visual_insertion_pack.benchmarks import bench_training
from visual_insertion_pack.pipelines.visual_insertion import optimizer_files
from visual_insertion_pack.pipelines.visual_insertion.embedding_optimizer import OptimizerSettings, build

ROOT = Path(__file__).resolve().parents[2]
GB = 1e9
MEMORY, DISK = 9 * GB, 4 * GB  # what a run may take at its peak; what the files take, and some


@pytest.fixture
def base(tmp_path):
    """A diffusers folder with a CLIP ViT-L/14 beside it: random, 16 bit."""
    free, available = shutil.disk_usage(tmp_path).free, psutil.virtual_memory().available
    if free < DISK or available < MEMORY:
        pytest.fail(f"Needed are {DISK / GB:.0f} GB of disk and {MEMORY / GB:.0f} GB of memory below {tmp_path}.")
    folder = tmp_path / "base"
    parts = {
        "unet": bench_training.make_unet,
        "vae": bench_training.make_vae,
        "image_encoder": bench_training.make_encoder,
    }
    for name, make in parts.items():
        make().half().save_pretrained(folder / name)
    bench_training.NOISE.save_pretrained(folder / "scheduler")
    statistics = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    (folder / "feature_extractor").mkdir()
    (folder / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(statistics))
    yield folder
    shutil.rmtree(folder)  # 2.4 GB: not to be kept as pytest keeps the last runs' folders


def dry_run(recipe, base, **changes):
    """What the command says of a recipe on the folder `base`, on a CPU and with pictures of 64 px; in a process."""
    small = {"run.device": "cpu", "run.accumulate": 1, "data.pictures.size": 64, "batch": 1}
    places = {"models.base": base.as_posix(), "models.image_encoder": "null"}
    given = [f"{name}={value}" for name, value in {**small, **places, **changes}.items()]
    command = [sys.executable, ROOT / "pipelines", "train", recipe, "--dry-run", "--set", *given]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-4000:]
    peak = re.search(r"([\d.]+) GB at the peak", ended.stdout)
    assert peak and float(peak[1]) * GB <= MEMORY
    return ended.stdout


def test_the_recipe_trains_the_published_parameters_at_full_size(base):
    """A dry run builds the networks, and takes steps with pictures through the encoder."""
    changes = {"optimizer.start": "null", "optimizer.no_object": "zeros"}
    out = dry_run("resampler_stage2", base, **changes)
    assert "unet: trains 43,962,560 parameters in 80 tensors" in out
    assert "embedding_optimizer: trains 19,748,096 parameters in 55 tensors" in out


def test_a_student_is_a_small_part_of_its_teacher_at_full_size(base, tmp_path):
    optimizer = tmp_path / "optimizer.safetensors"
    settings = OptimizerSettings("resampler", encoder_width=1024, context_width=768, context_tokens=77)
    optimizer_files.save(build(settings), optimizer)
    changes = {"models.embedding_optimizer": optimizer.as_posix(), "models.unet_patch": "null"}
    out = dry_run("guidance_student", base, **changes)
    trained = re.search(r"unet: trains ([\d,]+) parameters", out)
    assert trained and trained[1] == "67,252,224"  # what LCM-LoRA has for these layers at this rank (135 MB)
    assert "steps: 10,000 x 1 samples" in out
