"""The real size with random weights: an InstructPix2Pix checkpoint of Stable Diffusion 1.5 in memory for everyone.

Each layout is loaded and run in a process of its own, whose peak memory is measured. As a script (through
devtools/pack.py, see `measure`) this file is that process.
"""

import json
import math
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
GB = 1e9
MEMORY, DISK = 10 * GB, 5 * GB  # what a run may take at its peak; what the files take
CHECKPOINT = "random-instruct-pix2pix.safetensors"
UNET_PARAMETERS = 859_532_484

UNET_CONFIG = dict(
    in_channels=8,
    out_channels=4,
    block_out_channels=[320, 640, 1280, 1280],
    down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    layers_per_block=2,
    cross_attention_dim=768,
    attention_head_dim=8,
)
VAE_CONFIG = dict(
    double_z=True,
    z_channels=4,
    resolution=256,
    in_channels=3,
    out_ch=3,
    ch=128,
    ch_mult=[1, 2, 4, 4],
    num_res_blocks=2,
    attn_resolutions=[],
    dropout=0.0,
)


# the files


def write_half(path, tensors):
    """A safetensors file of random fp16 tensors, made on the way to the disk.

    `tensors` maps the name in the file to (seed, shape): the same seed, the same numbers. Gains of norms are 1.
    """
    noise = (np.random.default_rng(0).standard_normal(1 << 22) * 0.02).astype(np.float16)
    header, end = {}, 0
    for name, (_, shape) in tensors.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, (seed, shape) in tensors.items():
            if name.endswith("weight") and len(shape) == 1:
                file.write(np.ones(shape, np.float16).tobytes())
                continue
            at, left = zlib.crc32(seed.encode()) % len(noise), math.prod(shape)
            while left:
                piece = noise[at : at + left]
                file.write(piece.tobytes())
                at, left = 0, left - len(piece)


def shapes(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.fixture(scope="module")
def base(comfy, pack, tmp_path_factory):
    """A folder for the host with the checkpoint, and the same UNet in diffusers layout beside it."""
    import comfy.ops
    import comfy.utils
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    base = tmp_path_factory.mktemp("real_size")
    free, available = shutil.disk_usage(base).free, psutil.virtual_memory().available
    if free < DISK:
        pytest.fail(f"The real-size test needs {DISK / GB:.0f} GB of disk below {base}, {free / GB:.1f} GB are free.")
    if available < MEMORY:
        pytest.fail(f"The real-size test needs {MEMORY / GB:.0f} GB of memory, {available / GB:.1f} GB are available.")

    config = pack.nodes.host.diffusers_models.host_unet_config(UNET_CONFIG)
    heads = dict(num_heads=8, num_head_channels=-1)
    build = dict(device="meta", dtype=torch.float16, operations=comfy.ops.disable_weight_init)
    unet = shapes(UNetModel(**config, **heads, **build))
    assert sum(map(math.prod, unet.values())) == UNET_PARAMETERS
    with torch.device("meta"):
        vae = shapes(AutoencoderKL(embed_dim=4, ddconfig=VAE_CONFIG))

    (base / "models/checkpoints").mkdir(parents=True)
    whole = {f"model.diffusion_model.{name}": (name, shape) for name, shape in unet.items()}
    whole |= {f"first_stage_model.{name}": (name, shape) for name, shape in vae.items()}
    write_half(base / "models/checkpoints" / CHECKPOINT, whole)

    for part in ("unet", "scheduler"):
        (base / "diffusers" / part).mkdir(parents=True)
    (base / "diffusers/unet/config.json").write_text(json.dumps(UNET_CONFIG))
    (base / "diffusers/scheduler/scheduler_config.json").write_text(json.dumps({"prediction_type": "epsilon"}))
    names = {ours: theirs for theirs, ours in comfy.utils.unet_to_diffusers(config).items()}
    renamed = {names[name]: (name, shape) for name, shape in unet.items()}
    write_half(base / "diffusers/unet/diffusion_pytorch_model.safetensors", renamed)
    yield base
    shutil.rmtree(base)  # 3.6 GB: not to be kept as pytest keeps the last runs' folders


# the process that is measured


def peak_memory():
    """Bytes of this process at its peak. Linux: not getrusage's figure, which starts at the parent's."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    if (status := Path("/proc/self/status")).exists():
        return 1024 * int(next(line for line in status.read_text().splitlines() if "VmHWM" in line).split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


class FlatVae:
    """In place of a VAE, so that the two layouts are given the same scene."""

    def encode(self, pixels):
        return pixels.mean(-1, keepdim=True).movedim(-1, 1)[:, :, ::8, ::8].repeat(1, 4, 1, 1)


def main():
    """Load a layout, run one step at 128x128, print what it took and leave the latent."""
    from ...devtools.inprocess import InProcess
    from ...pipelines.visual_insertion import embedding_optimizer as optimizers

    layout, home, base = sys.argv[1], *map(Path, sys.argv[2:])
    comfy = InProcess(home, base)
    from ...nodes.host.diffusers_models import load_pix2pix_unet  # not before the host is there

    settings = optimizers.OptimizerSettings("resampler", encoder_width=1024, context_width=768, context_tokens=77)
    torch.manual_seed(0)
    folder = base / "models/embedding_optimizers"
    folder.mkdir(exist_ok=True)
    save_file(optimizers.build(settings).state_dict(), folder / "random.safetensors", optimizers.metadata(settings))
    (optimizer,) = comfy("EmbeddingOptimizerLoader", name="random.safetensors")
    seen = {"last_hidden_state": torch.randn(1, 257, 1024)}
    positive, negative = comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=seen)
    scene = torch.rand(1, 128, 128, 3)

    def insert(vae, **guidance):
        (guidance,) = comfy("GuidanceControl", **guidance)
        return comfy(
            "ImageConditionedPix2PixSampler",
            **dict(model=model, vae=vae, scene=scene, positive=positive, negative=negative, guidance=guidance),
            **dict(seed=0, steps=1, sampler_name="euler", scheduler="normal", denoise=1.0),
        )[0]

    if layout == "checkpoint":
        model, _, vae = comfy("CheckpointLoaderSimple", ckpt_name=CHECKPOINT)
        (image,) = comfy("SceneDecode", latent=insert(vae, object_scale=7.5, scene_scale=1.5), vae=vae, scene=scene)
        assert image.shape == scene.shape and torch.isfinite(image).all()
    else:
        model = load_pix2pix_unet(base / "diffusers")
    latent = insert(FlatVae(), object_scale=1.0, scene_scale=1.0)["samples"]  # one branch tells models apart
    torch.save(latent, base / f"{layout}.pt")
    found = {
        "peak_gb": peak_memory() / GB,
        "parameters": sum(weight.numel() for weight in model.model.diffusion_model.parameters()),
        "kind": type(model.model).__name__,
    }
    print(json.dumps(found))
    return 0


@pytest.fixture(scope="module")
def measure(base, home):
    """measure(layout): what the process of a layout printed, and its latent; each runs once."""
    done = {}

    def run(layout):
        if layout not in done:
            script = [ROOT / "devtools" / "pack.py", "tests.host.test_real_size"]
            ended = subprocess.run([sys.executable, *script, layout, home, base], capture_output=True, text=True)
            assert ended.returncode == 0, ended.stderr[-4000:]
            done[layout] = json.loads(ended.stdout.splitlines()[-1]), torch.load(base / f"{layout}.pt")
        return done[layout]

    return run


@pytest.mark.parametrize("layout", ["checkpoint", "diffusers"])
def test_a_model_of_real_size_runs_within_ten_gigabytes(measure, layout, artifacts):
    found, latent = measure(layout)
    (artifacts / f"real_size_{layout}.json").write_text(json.dumps(found) + "\n")
    assert found["parameters"] == UNET_PARAMETERS
    assert found["kind"] == "SD15_instructpix2pix"
    assert found["peak_gb"] * GB <= MEMORY
    assert latent.shape == (1, 4, 16, 16)
    assert torch.isfinite(latent).all() and latent.std() > 0.01


def test_both_layouts_are_the_same_model(measure):
    """Every one of the renamed tensors is in its place, or the results would differ."""
    (_, stock), (_, ours) = measure("checkpoint"), measure("diffusers")
    assert (stock - ours).abs().max() <= 1e-4 * stock.abs().max()
