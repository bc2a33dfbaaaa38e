"""What the tests of Paint by Example share: a small random model in its published layouts, and the reference's loop."""

import json
from importlib import import_module

import numpy as np
import torch
from safetensors.torch import save_file

from visual_insertion_pack.pipelines.paint_by_example import checkpoints
from visual_insertion_pack.pipelines.weights.layouts import to_ldm

UNET = dict(
    in_channels=9,
    out_channels=4,
    block_out_channels=[32, 64, 64],
    down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    layers_per_block=1,
    cross_attention_dim=48,
    attention_head_dim=4,
)
VISION = dict(
    model_type="clip_vision_model",
    hidden_size=64,
    intermediate_size=64,
    num_hidden_layers=9,  # two blocks of the exemplar encoder: one in five
    num_attention_heads=2,
    image_size=32,
    patch_size=8,
    projection_dim=48,
    hidden_act="quick_gelu",
)
SCHEDULER = dict(
    _class_name="PNDMScheduler",
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    num_train_timesteps=1000,
    prediction_type="epsilon",
    set_alpha_to_one=False,
    skip_prk_steps=True,
    steps_offset=1,
    timestep_spacing="leading",
)
PIXELS = dict(
    image_mean=[0.48145466, 0.4578275, 0.40821073],
    image_std=[0.26862954, 0.26130258, 0.27577711],
    size={"shortest_edge": 32},
    crop_size={"height": 32, "width": 32},
)
LDM_EXTRAS = ("betas", "alphas_cumprod", "model_ema.decay")  # what a checkpoint has beside the networks


def theirs(name):
    """One of diffusers' modules of Paint by Example, which newer versions keep among the deprecated pipelines."""
    from diffusers import PaintByExamplePipeline

    return import_module(f"{PaintByExamplePipeline.__module__.rpartition('.')[0]}.{name}")


def random_encoder(vision=VISION, seed=0):
    """diffusers' image encoder with random weights, all that half precision can hold."""
    from transformers import CLIPVisionConfig

    torch.manual_seed(seed)
    encoder = (
        theirs("image_encoder").PaintByExampleImageEncoder(CLIPVisionConfig(**vision)).eval().requires_grad_(False)
    )
    for name, parameter in encoder.named_parameters():
        wide = 0.3 if name.endswith("bias") else 1.0 if parameter.ndim < 2 else parameter.shape[-1] ** -0.5
        noise = torch.randn(parameter.shape) * wide
        gain = "norm" in name and name.endswith("weight")
        parameter.copy_((1 + 0.1 * noise if gain else noise).half())
    return encoder


def published_names(state):
    """An image encoder's tensors as the published file calls them, whatever transformers does."""
    return {
        name if ".vision_model." in name or not name.startswith("model.") else f"model.vision_model.{name[6:]}": tensor
        for name, tensor in state.items()
    }


def random_vae(seed=0):
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=16,
        scaling_factor=0.18215,
    ).eval()


def random_unet(seed=0):
    from diffusers import UNet2DConditionModel

    torch.manual_seed(seed)
    return UNet2DConditionModel(**UNET).eval()


def write_folder(folder):
    """A small model as a diffusers folder; its parts."""
    parts = {"unet": random_unet(), "vae": random_vae(), "image_encoder": random_encoder()}
    parts["unet"].save_pretrained(folder / "unet")
    parts["vae"].save_pretrained(folder / "vae")
    for name, content in (("image_encoder/config", VISION), ("scheduler/scheduler_config", SCHEDULER)):
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (folder / "feature_extractor").mkdir()
    (folder / "feature_extractor/preprocessor_config.json").write_text(json.dumps(PIXELS))
    save_file(published_names(parts["image_encoder"].state_dict()), folder / "image_encoder/model.safetensors")
    return parts


def ldm_state(encoder, unet=None):
    """The same in an LDM checkpoint's names; without a UNet, its first layer alone."""
    theirs = published_names(encoder.state_dict())
    state = checkpoints.to_ldm(checkpoints.from_diffusers(theirs))
    vision = {name[6:]: tensor for name, tensor in theirs.items() if name.startswith("model.")}
    state |= {f"cond_stage_model.transformer.{name}": tensor.clone() for name, tensor in vision.items()}
    state["cond_stage_model.transformer.vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    tensors = {"conv_in.weight": torch.zeros(32, 9, 3, 3)} if unet is None else unet.state_dict()
    names = to_ldm(tensors)
    state |= {f"model.diffusion_model.{names[name]}": tensor.clone() for name, tensor in tensors.items()}
    return state | {name: torch.ones(3) for name in LDM_EXTRAS}


def ddim_timesteps(steps):
    """As in ldm/modules/diffusionmodules/util.py, make_ddim_timesteps "uniform": 13 of them for 12 steps."""
    return [step + 1 for step in range(0, 1000, 1000 // steps)]


def reference_loop(predict, noise, shown, keep, exemplar, null, scale, timesteps, last=None):
    """DDIM with eta 0 as in ldm/models/diffusion/ddim.py, float64 but for the network.

    `predict(x, timestep, context)` is the UNet; `noise` the first x; `shown` the scaled latents of the masked picture;
    `keep` the mask, 1 for what stays; `timesteps` ascending; `last` the signal it ends with, by default that of step 0.
    """
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
    signal = np.cumprod(1 - betas)
    ends = signal[0] if last is None else last
    x = noise.double()
    for place in reversed(range(len(timesteps))):
        step = timesteps[place]
        a, before = signal[step], signal[timesteps[place - 1]] if place else ends
        seen = torch.cat([x.float(), shown, keep], dim=1)
        unguided, guided = (predict(seen, torch.tensor([step]), context).double() for context in (null, exemplar))
        noise_of = unguided + scale * (guided - unguided)
        clean = (x - (1 - a) ** 0.5 * noise_of) / a**0.5
        x = before**0.5 * clean + (1 - before) ** 0.5 * noise_of
    return x.float()


def relative(a, b):
    return float((a - b).norm() / b.norm())
