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


def test_the_recipe_trains_the_published_parameters_at_full_size(base):
    """A dry run builds the networks, and takes steps with pictures through the encoder, in a process of its own."""
    changes = [f"models.base={base.as_posix()}", "models.image_encoder=null", "run.device=cpu", "run.accumulate=1"]
    changes += ["optimizer.start=null", "optimizer.no_object=zeros", "data.pictures.size=64", "batch=1"]
    command = [sys.executable, ROOT / "pipelines", "train", "resampler_stage2", "--dry-run", "--set", *changes]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert "unet: trains 43,962,560 parameters in 80 tensors" in ended.stdout
    assert "embedding_optimizer: trains 19,748,096 parameters in 55 tensors" in ended.stdout
    peak = re.search(r"([\d.]+) GB at the peak", ended.stdout)
    assert peak and float(peak[1]) * GB <= MEMORY
