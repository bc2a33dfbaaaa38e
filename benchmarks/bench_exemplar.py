"""Paint by Example against its references: the full-size exemplar encoder, and 12 DDIM steps of the stock sampler.

`encoder_rel`: relative error of the tokens of random pooled vectors, one and four of an object, ours against
diffusers' class, with random full-size weights that went through an LDM checkpoint's names. `ddim_loop_rel`: relative
error of the latents, KSampler in the real host on a small UNet against the original's loop in float64 around the same
network.
"""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path

import torch

from ..devtools.environment import find_host
from ..devtools.inprocess import InProcess
from ..pipelines.paint_by_example import checkpoints, exemplar_encoder, inpainting
from ..tests import paint_by_example_parts as parts
from .figures import record

FULL = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, projection_dim=768, intermediate_size=8)
STEPS = 12
SCALE = 5.0
SEED = 3
FOLDER = "small"


@torch.inference_mode()
def encoder_error() -> float:
    """The mapper, norm and projection are full-size; the vision tower before them is narrow and not looked at."""
    theirs = parts.random_encoder(parts.VISION | FULL)
    state = checkpoints.from_ldm(checkpoints.to_ldm(checkpoints.from_diffusers(theirs.state_dict())))
    ours = exemplar_encoder.from_state(exemplar_encoder.ExemplarSettings(), state, Path("memory"))
    generator = torch.Generator().manual_seed(1)
    errors = []
    for tokens in (1, 4):
        pooled = torch.randn(2, tokens, 1024, generator=generator)
        reference = theirs.proj_out(theirs.final_layer_norm(theirs.mapper(pooled)))
        errors.append(parts.relative(ours(pooled), reference))
    return max(errors)


@torch.inference_mode()
def loop_error(base: Path) -> float:
    """One run on 80x96 px, the mask off the grid of latent cells."""
    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    comfy = InProcess(home, base)
    folder = base / "models" / "diffusers" / FOLDER
    folder.mkdir(parents=True)
    networks = parts.write_folder(folder)
    generator = torch.Generator().manual_seed(1)
    scene = torch.rand(1, 80, 96, 3, generator=generator)
    exemplar = torch.rand(1, 40, 60, 3, generator=generator)
    mask = torch.zeros(1, 80, 96)
    mask[:, 20:61, 30:77] = 1

    model, vae, vision, encoder = comfy("PaintByExampleLoader", name=FOLDER)
    pair = comfy("PaintByExampleEncode", clip_vision=vision, exemplar_encoder=encoder, image=exemplar)
    inputs = dict(positive=pair[0], negative=pair[1], vae=vae, image=scene, mask=mask)
    positive, negative, latent = comfy("PaintByExampleConditioning", **inputs)
    inputs = dict(model=model, positive=positive, negative=negative, latent_image=latent)
    settings = dict(seed=SEED, steps=STEPS, cfg=SCALE, sampler_name="ddim", scheduler="ddim_uniform", denoise=1.0)
    (result,) = comfy("KSampler", **inputs, **settings)

    hole = 2 * inpainting.masked_scene(scene, mask).movedim(-1, 1) - 1
    masked = networks["vae"].encode(hole).latent_dist.mode() * 0.18215
    timesteps = parts.ddim_timesteps(STEPS)
    sigma = model.get_model_object("model_sampling").sigmas[timesteps[-1]].cpu()
    noise = torch.randn(masked.shape, generator=torch.Generator().manual_seed(SEED))

    def predict(x, step, context):
        return networks["unet"](x, step, encoder_hidden_states=context).sample

    x = parts.reference_loop(
        predict,
        noise * sigma / (1 + sigma**2).sqrt(),  # the host starts a run below full noise without the clean part
        masked,
        1 - inpainting.latent_mask(mask),
        *(conditioning[0][0] for conditioning in pair),
        SCALE,
        timesteps,
        last=1.0,
    )
    return parts.relative(result["samples"] * 0.18215, x)


def main() -> int:
    torch.set_num_threads(1)
    errors = {"encoder_rel": encoder_error()}
    gc.collect()
    with tempfile.TemporaryDirectory() as base:
        errors["ddim_loop_rel"] = loop_error(Path(base))
    values = {name: (error, "relative error") for name, error in errors.items()}
    path = record("exemplar", values, "python dev.py bench exemplar")
    print(f"{errors}\nwrote {path}")
    return 0
