"""Paint by Example at its real size: the 12.6 GB checkpoint with optimizer state, and the diffusers folder.

The checkpoint has its published size and names. Vision and exemplar encoder are random numbers; UNet, VAE and the
optimizer's state are a hole in the file. The loader runs in a process of its own, whose peak memory is measured; as a
script (through devtools/pack.py) this file is that process.
"""

import json
import math
import mmap
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
GB = 1e9
DISK, MEMORY = 4 * GB, 6.5 * GB  # the UNet alone is 3.4 GB in 32 bit
CHECKPOINT, FOLDER = "model.ckpt", "paint-by-example"
SIZE = 12_628_030_792  # bytes of the published file with optimizer state
UNET_PARAMETERS, ENCODER_PARAMETERS = 859_535_364, 62_981_120 + 2_048 + 787_200 + 768
VISION = dict(
    model_type="clip_vision_model",
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=224,
    patch_size=14,
    projection_dim=768,
    hidden_act="quick_gelu",
)
EXEMPLAR = (torch.rand(1, 224, 224, 3, generator=torch.Generator().manual_seed(2)) * 255).round() / 255


def random_encoder():
    """diffusers' image encoder; its numbers fit into 16 bit, as which the host keeps a vision tower."""
    from transformers import CLIPVisionConfig

    from visual_insertion_pack.tests import paint_by_example_parts as parts

    with torch.device("meta"):
        encoder = (
            parts.theirs("image_encoder")
            .PaintByExampleImageEncoder(CLIPVisionConfig(**VISION))
            .eval()
            .requires_grad_(False)
        )
    noise = torch.randn(1 << 23, generator=torch.Generator().manual_seed(0))

    def make(name, shape, place):
        if "norm" in name and name.endswith("weight"):
            return torch.ones(shape)
        start, count = 7919 * place % (1 << 22), math.prod(shape)
        wide = 0.3 if len(shape) < 2 else shape[-1] ** -0.5
        return (noise[start : start + count].view(shape) * wide).half().float()

    names = enumerate(encoder.state_dict().items())
    state = {name: make(name, tensor.shape, place) for place, (name, tensor) in names}
    encoder.load_state_dict(state, assign=True)
    embeddings = getattr(encoder.model, "vision_model", encoder.model).embeddings
    embeddings.position_ids = torch.arange(257)[None]
    return encoder


def write_checkpoint(path, random, hollow):
    """An LDM checkpoint of the published size: tensors with numbers, tensors of zeros, and the optimizer's state."""
    from torch._subclasses import FakeTensorMode

    shapes = {name: tuple(tensor.shape) for name, tensor in random.items()} | hollow
    weights = sum(4 * math.prod(shape) for shape in shapes.values())
    with FakeTensorMode():
        state = {name: torch.empty(shape) for name, shape in shapes.items()}
        moments = [torch.empty((SIZE - weights) // 8) for _ in range(2)]
        content = {"state_dict": state, "optimizer_states": [{"state": dict(enumerate(moments))}], "global_step": 7}
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(content, path)
    torch.serialization.set_default_mmap_options(mmap.MAP_SHARED)
    try:
        written = torch.load(path, mmap=True, weights_only=True)["state_dict"]
        for name, tensor in random.items():
            written[name].copy_(tensor)
    finally:
        torch.serialization.set_default_mmap_options(mmap.MAP_PRIVATE)


def write_models(base):
    """The model in both layouts below `base`, and what diffusers makes of the exemplar: base/truth.pt."""
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from diffusers import UNet2DConditionModel

    from visual_insertion_pack.pipelines.paint_by_example import checkpoints
    from visual_insertion_pack.pipelines.weights.layouts import to_ldm
    from visual_insertion_pack.tests import paint_by_example_parts as parts
    from visual_insertion_pack.tests import sd15

    unet_config = {"in_channels": 9, **sd15.UNET}
    with torch.device("meta"):
        unet = {name: tuple(tensor.shape) for name, tensor in UNet2DConditionModel(**unet_config).state_dict().items()}
        vae = AutoencoderKL(embed_dim=4, ddconfig=sd15.VAE).state_dict()
    assert sum(map(math.prod, unet.values())) == UNET_PARAMETERS
    names = to_ldm(unet)
    hollow = {f"model.diffusion_model.{names[name]}": shape for name, shape in unet.items()}
    hollow |= {f"first_stage_model.{name}": tuple(tensor.shape) for name, tensor in vae.items()}

    encoder = random_encoder()
    theirs = parts.published_names(encoder.state_dict())
    state = checkpoints.to_ldm(checkpoints.from_diffusers(theirs))
    tower = {name.removeprefix("model."): tensor for name, tensor in theirs.items() if name.startswith("model.")}
    state |= {f"cond_stage_model.transformer.{name}": tensor for name, tensor in tower.items()}
    (base / "models/checkpoints").mkdir(parents=True)
    write_checkpoint(base / "models/checkpoints" / CHECKPOINT, state, hollow)
    folder = base / "models/diffusers" / FOLDER
    for part, config in (("unet", unet_config), ("image_encoder", VISION)):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(config))
    save_file({name: tensor.half() for name, tensor in theirs.items()}, folder / "image_encoder/model.safetensors")
    shift, scale = (torch.tensor(parts.PIXELS[f"image_{name}"]) for name in ("mean", "std"))
    with torch.no_grad():
        context, null = encoder(((EXEMPLAR - shift) / scale).movedim(-1, 1), return_uncond_vector=True)
    torch.save((context, null.detach()), base / "truth.pt")


@pytest.fixture(scope="module")
def base(comfy, tmp_path_factory):
    """A folder for the host with the model in both layouts."""
    base = tmp_path_factory.mktemp("real_size")
    free, available = shutil.disk_usage(base).free, psutil.virtual_memory().available
    if free < DISK or available < MEMORY:
        pytest.fail(f"The real-size test needs {DISK / GB:.0f} GB of disk and {MEMORY / GB:.1f} GB of memory.")
    write_models(base)
    yield base
    shutil.rmtree(base)


def main():
    """Load the checkpoint by its node, encode the exemplar and sample one step; then the folder's encoders alone."""
    from ...devtools.inprocess import InProcess
    from .test_real_size import peak_memory

    home, base = Path(sys.argv[1]), Path(sys.argv[2])
    comfy = InProcess(home, base)
    from comfy import ops

    from ...nodes.host import managed_networks, paint_by_example_models  # not before the host is there

    def encode(layout, vision, encoder):
        pair = comfy("PaintByExampleEncode", clip_vision=vision, exemplar_encoder=encoder, image=EXEMPLAR)
        torch.save(tuple(conditioning[0][0] for conditioning in pair), base / f"{layout}.pt")
        return pair

    model, vae, vision, encoder = comfy("PaintByExampleLoader", name=CHECKPOINT)
    positive, negative = encode("checkpoint", vision, encoder)
    scene, mask = torch.rand(1, 64, 64, 3), torch.zeros(1, 64, 64)
    mask[:, 16:48, 16:48] = 1
    inputs = dict(positive=positive, negative=negative, vae=vae, image=scene, mask=mask)
    positive, negative, latent = comfy("PaintByExampleConditioning", **inputs)
    inputs = dict(model=model, positive=positive, negative=negative, latent_image=latent)
    settings = dict(seed=0, steps=1, cfg=5.0, sampler_name="ddim", scheduler="ddim_uniform", denoise=1.0)
    (made,) = comfy("KSampler", **inputs, **settings)
    found = {
        "kept": sum(tensor.numel() for tensor in encoder.module.state_dict().values()),
        "latent": list(made["samples"].shape),
        "finite": bool(torch.isfinite(made["samples"]).all()),
        "parameters": sum(weight.numel() for weight in model.model.diffusion_model.parameters()),
        "config": type(model.model.model_config).__name__,
        "order": model.get_model_object("concat_keys"),
        "peak_gb": peak_memory() / GB,
    }
    del model, vae, vision, encoder, inputs
    files = paint_by_example_models.open_paint_by_example(base / "models/diffusers" / FOLDER)
    encoder = managed_networks.ManagedExemplarEncoder(files.exemplar_encoder(ops.manual_cast))
    encode("folder", paint_by_example_models.clip_vision_of(files), encoder)
    print(json.dumps(found))
    return 0


@pytest.fixture(scope="module")
def measured(base, home):
    """What was found out about the checkpoint."""
    script = [ROOT / "devtools" / "pack.py", "tests.nodes.test_paint_by_example_real_size", home, base]
    ended = subprocess.run([sys.executable, *script], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads(ended.stdout.splitlines()[-1])


def test_the_file_is_of_the_published_size(base):
    assert (base / "models/checkpoints" / CHECKPOINT).stat().st_size == pytest.approx(SIZE, rel=1e-3)


def test_the_checkpoint_loads_in_the_memory_of_what_is_needed(measured, artifacts):
    (artifacts / "paint_by_example_real_size.json").write_text(json.dumps(measured) + "\n")
    assert measured["parameters"] == UNET_PARAMETERS and measured["config"] == "SD15"
    assert measured["kept"] == ENCODER_PARAMETERS
    assert measured["order"] == ["masked_image", "mask_inverted"]
    assert measured["latent"] == [1, 4, 8, 8] and measured["finite"]
    assert measured["peak_gb"] * GB <= MEMORY


@pytest.mark.parametrize("layout", ["checkpoint", "folder"])
def test_both_layouts_give_what_diffusers_gives(measured, base, layout):
    (context, null), (theirs, their_null) = (torch.load(base / f"{name}.pt") for name in (layout, "truth"))
    assert context.shape == (1, 1, 768)
    assert (context - theirs).norm() <= 1e-4 * theirs.norm()
    assert torch.equal(null, their_null)


def test_both_layouts_give_the_same_conditioning(measured, base):
    checkpoint, folder = (torch.load(base / f"{name}.pt") for name in ("checkpoint", "folder"))
    assert all(torch.equal(a, b) for a, b in zip(checkpoint, folder, strict=True))
