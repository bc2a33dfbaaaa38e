"""The real size with random weights: every public layout of an InstructPix2Pix model, in memory for everyone.

The stock loader and ours each load and run their layouts in a process of their own, whose peak memory is measured. As
a script (through devtools/pack.py, see `measure`) this file is that process.
"""

import gc
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
MEMORY, DISK = 10 * GB, 9 * GB  # what a run may take at its peak; what the files take
CHECKPOINT, WHOLE = "random-instruct-pix2pix.safetensors", "instruct-pix2pix-00-22000.safetensors"
UNET_PARAMETERS = 859_532_484
WHOLE_BYTES = 7_703_416_451  # of the published file
TEXT_ENCODER_BYTES = 492_265_168
LAYOUTS = {  # what our loader is given, and what the weights are in memory, smaller first
    "checkpoint": (None, None, "torch.float32"),
    "folder": ("paint-by-inpaint/add-base", "as saved", "torch.float16"),
    "file": ("paint-by-inpaint-add-base-unet.safetensors", "as saved", "torch.float16"),
    "averaged": (WHOLE, "averaged (EMA)", "torch.float32"),
}


# the files


def write(path, tensors, dtype=np.float16):
    """A safetensors file of random tensors, made on the way to the disk.

    `tensors` maps the name in the file to (seed, shape): the same seed, the same numbers, whatever the dtype. Gains of
    norms are 1. Without a seed it is zeros: a hole in the file, which takes neither time nor disk.
    """
    noise = (np.random.default_rng(0).standard_normal(1 << 22) * 0.02).astype(np.float16).astype(dtype)
    header, end = {}, 0
    for name, (_, shape) in tensors.items():
        start, end = end, end + noise.itemsize * math.prod(shape)
        kind = f"F{8 * noise.itemsize}"
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(file.tell() + end)
        for name, (seed, shape) in tensors.items():
            left = math.prod(shape)
            if seed is None:
                file.seek(noise.itemsize * left, 1)
                continue
            if name.endswith("weight") and len(shape) == 1:
                file.write(np.ones(shape, dtype).tobytes())
                continue
            at = zlib.crc32(seed.encode()) % len(noise)
            while left:
                piece = noise[at : at + left]
                file.write(piece.data)
                at, left = 0, left - len(piece)


def shapes(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.fixture(scope="module")
def base(comfy, tmp_path_factory):
    """A folder for the host with the same UNet in every layout."""
    import comfy.ops
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    from visual_insertion_pack.nodes.host.unet_settings import host_unet_config
    from visual_insertion_pack.pipelines.weights.layouts import averaged_name, to_diffusers
    from visual_insertion_pack.tests import sd15

    base = tmp_path_factory.mktemp("real_size")
    free, available = shutil.disk_usage(base).free, psutil.virtual_memory().available
    if free < DISK:
        pytest.fail(f"The real-size test needs {DISK / GB:.0f} GB of disk below {base}, {free / GB:.1f} GB are free.")
    if available < MEMORY:
        pytest.fail(f"The real-size test needs {MEMORY / GB:.0f} GB of memory, {available / GB:.1f} GB are available.")

    models = base / "models"
    unet_config = {"in_channels": 8, **sd15.UNET}
    config = host_unet_config(unet_config)
    heads = dict(num_heads=8, num_head_channels=-1)
    build = dict(device="meta", dtype=torch.float16, operations=comfy.ops.disable_weight_init)
    unet = {name: (name, shape) for name, shape in shapes(UNetModel(**config, **heads, **build)).items()}
    assert sum(math.prod(shape) for _, shape in unet.values()) == UNET_PARAMETERS
    with torch.device("meta"):
        vae = shapes(AutoencoderKL(embed_dim=4, ddconfig=sd15.VAE))
    vae = {f"first_stage_model.{name}": (name, shape) for name, shape in vae.items()}
    trained = {f"model.diffusion_model.{name}": entry for name, entry in unet.items()}
    (models / "checkpoints").mkdir(parents=True)
    write(models / "checkpoints" / CHECKPOINT, trained | vae)

    # Both copies, the averaged one with the checkpoint's numbers and all else zeros.
    whole = {name: (None, shape) for name, (_, shape) in (trained | vae).items()}
    whole |= {averaged_name(name): entry for name, entry in unet.items()}
    whole |= {"model_ema.decay": (None, ()), "model_ema.num_updates": (None, ())}
    whole["cond_stage_model.transformer.text_model.weights"] = (None, (TEXT_ENCODER_BYTES // 4,))
    write(models / "checkpoints" / WHOLE, whole, np.float32)
    assert (models / "checkpoints" / WHOLE).stat().st_size == pytest.approx(WHOLE_BYTES, rel=0.01)

    folder = models / "diffusers" / LAYOUTS["folder"][0]
    for part in ("unet", "scheduler"):
        (folder / part).mkdir(parents=True)
    (folder / "unet/config.json").write_text(json.dumps(unet_config))
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"prediction_type": "epsilon"}))
    names = to_diffusers(unet)
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    write(weights, {names[name]: entry for name, entry in unet.items()})
    (models / "diffusion_models").mkdir()
    (models / "diffusion_models" / LAYOUTS["file"][0]).hardlink_to(weights)
    yield base
    shutil.rmtree(base)  # 7 GB: not to be kept as pytest keeps the last runs' folders


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
    """In place of a VAE, so that all layouts are given the same scene."""

    def encode(self, pixels):
        return pixels.mean(-1, keepdim=True).movedim(-1, 1)[:, :, ::8, ::8].repeat(1, 4, 1, 1)


def main():
    """Load layouts one after the other, run one step of each at 128x128, print what it took and leave the latents."""
    from ...devtools.inprocess import InProcess
    from ...pipelines.visual_insertion import optimizer_files as optimizers

    home, base = map(Path, sys.argv[1:3])
    comfy = InProcess(home, base)
    from comfy import model_management as management  # not before the host is there

    settings = optimizers.OptimizerSettings("resampler", encoder_width=1024, context_width=768, context_tokens=77)
    torch.manual_seed(0)
    folder = base / "models/embedding_optimizers"
    folder.mkdir(exist_ok=True)
    save_file(optimizers.build(settings).state_dict(), folder / "random.safetensors", optimizers.metadata(settings))
    (optimizer,) = comfy("EmbeddingOptimizerLoader", name="random.safetensors")
    seen = {"last_hidden_state": torch.randn(1, 257, 1024)}
    positive, negative = comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=seen)
    scene = torch.rand(1, 128, 128, 3)

    def insert(model, vae, **guidance):
        (guidance,) = comfy("GuidanceControl", **guidance)
        return comfy(
            "ImageConditionedPix2PixSampler",
            **dict(model=model, vae=vae, scene=scene, positive=positive, negative=negative, guidance=guidance),
            **dict(seed=0, steps=1, sampler_name="euler", scheduler="normal", denoise=1.0),
        )[0]

    def run(layout):
        if layout == "checkpoint":
            model, _, vae = comfy("CheckpointLoaderSimple", ckpt_name=CHECKPOINT)
            latent = insert(model, vae, object_scale=7.5, scene_scale=1.5)
            (image,) = comfy("SceneDecode", latent=latent, vae=vae, scene=scene)
            assert image.shape == scene.shape and torch.isfinite(image).all()
        else:
            name, weights, _ = LAYOUTS[layout]
            (model,) = comfy("Pix2PixUNetLoader", name=name, weights=weights)
        latent = insert(model, FlatVae(), object_scale=1.0, scene_scale=1.0)["samples"]  # one branch tells models apart
        torch.save(latent, base / f"{layout}.pt")
        parameters = list(model.model.diffusion_model.parameters())
        return {
            "peak_gb": peak_memory() / GB,
            "parameters": sum(weight.numel() for weight in parameters),
            "kind": type(model.model).__name__,
            "config": type(model.model.model_config).__name__,
            "dtype": ", ".join({str(weight.dtype) for weight in parameters}),
        }

    found = {}
    for layout in sys.argv[3:]:
        found[layout] = run(layout)
        management.unload_all_models()
        gc.collect()
    print(json.dumps(found))
    return 0


@pytest.fixture(scope="module")
def measure(base, home):
    """measure(layout): what was found out about a layout, and its latent; each process runs once."""
    stock, *ours = LAYOUTS
    found = {}
    for layouts in ([stock], ours):
        script = [ROOT / "devtools" / "pack.py", "tests.nodes.test_real_size", home, base, *layouts]
        ended = subprocess.run([sys.executable, *script], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr[-4000:]
        found |= json.loads(ended.stdout.splitlines()[-1])
    return lambda layout: (found[layout], torch.load(base / f"{layout}.pt"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_of_real_size_runs_within_ten_gigabytes(measure, layout, artifacts):
    found, latent = measure(layout)
    (artifacts / f"real_size_{layout}.json").write_text(json.dumps(found) + "\n")
    assert found["parameters"] == UNET_PARAMETERS
    assert found["kind"] == found["config"] == "SD15_instructpix2pix"
    assert found["dtype"] == LAYOUTS[layout][2]
    assert found["peak_gb"] * GB <= MEMORY
    assert latent.shape == (1, 4, 16, 16)
    assert torch.isfinite(latent).all() and latent.std() > 0.01


@pytest.mark.parametrize("layout", list(LAYOUTS)[1:])
def test_every_layout_is_the_model_that_the_stock_loader_makes(measure, layout):
    """Every one of the renamed tensors is in its place, or the results would differ."""
    (_, stock), (_, ours) = measure("checkpoint"), measure(layout)
    assert (stock - ours).abs().max() <= 1e-4 * stock.abs().max()


@pytest.mark.parametrize("layout", list(LAYOUTS)[1:])
def test_our_loader_holds_one_copy_of_the_weights(measure, layout):
    found, _ = measure(layout)
    bytes_each = {"torch.float16": 2, "torch.float32": 4}[LAYOUTS[layout][2]]
    assert found["peak_gb"] * GB <= bytes_each * UNET_PARAMETERS + 2.5 * GB  # the program itself and a step's work


@pytest.mark.parametrize("layout", ["checkpoint", "file"])
def test_the_doctor_finds_one_step_to_be_that_of_diffusers(comfy, base, layout):
    """The checkpoint is renamed for diffusers by diffusers itself."""
    from comfy import model_management

    from visual_insertion_pack.nodes.host.loaded_unet import loaded_unet
    from visual_insertion_pack.nodes.host.pix2pix_unets import load_pix2pix_unet
    from visual_insertion_pack.pipelines.doctor.parity import parity

    names = {"checkpoint": f"checkpoints/{CHECKPOINT}", "file": f"diffusion_models/{LAYOUTS['file'][0]}"}
    model = load_pix2pix_unet(base / "models" / names[layout])
    (check,) = parity(loaded_unet(model))
    model_management.unload_all_models()
    assert check.state == "ok", check
    assert f"one UNet step of {Path(names[layout]).name} in float32 is within " in check.found
