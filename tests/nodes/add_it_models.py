"""Small models with random weights in the host's own classes, and what tests of Add-It do with them."""

from types import SimpleNamespace

import torch

FLUX = dict(
    image_model="flux",
    in_channels=16,
    out_channels=16,
    vec_in_dim=8,
    context_in_dim=12,
    hidden_size=64,
    mlp_ratio=2.0,
    num_heads=4,
    depth=3,
    depth_single_blocks=4,
    axes_dim=[4, 6, 6],
    theta=10000,
    patch_size=2,
    qkv_bias=True,
    guidance_embed=True,
    txt_ids_dims=[],
)
FLUX2 = FLUX | dict(
    vec_in_dim=None,
    guidance_embed=False,
    global_modulation=True,
    mlp_silu_act=True,
    ops_bias=False,
    qkv_bias=False,
    txt_ids_dims=[3],
    axes_dim=[4, 4, 4, 4],
    patch_size=1,
    mlp_ratio=3.0,
    default_ref_method="index",
    ref_index_scale=10.0,
    theta=2000,
)
CHROMA = dict(
    in_channels=64,
    out_channels=64,
    context_in_dim=12,
    hidden_size=64,
    mlp_ratio=2.0,
    num_heads=4,
    depth=2,
    depth_single_blocks=2,
    axes_dim=[4, 6, 6],
    theta=10000,
    patch_size=2,
    qkv_bias=True,
    in_dim=64,
    out_dim=64,
    hidden_dim=32,
    n_layers=1,
    txt_ids_dims=[],
    vec_in_dim=None,
)
UNET = dict(
    image_size=32,
    in_channels=4,
    out_channels=4,
    model_channels=32,
    channel_mult=[1, 2],
    num_res_blocks=[1, 1],
    transformer_depth=[1, 1],
    transformer_depth_output=[1, 1, 1, 1],
    transformer_depth_middle=1,
    context_dim=12,
    num_heads=4,
    use_spatial_transformer=True,
    use_linear_in_transformer=False,
    legacy=False,
    adm_in_channels=None,
    use_temporal_resblock=False,
    use_temporal_attention=False,
)


def model_of(kind, seed=0):
    """MODEL of a class of the host with random weights: "flux", "flux2", "chroma" or "unet"."""
    import comfy.latent_formats
    import comfy.model_base
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models_base

    class Config(comfy.supported_models_base.BASE):
        unet_config = {}
        unet_extra_config = {}
        sampling_settings = {}
        latent_format = comfy.latent_formats.SD15 if kind == "unet" else comfy.latent_formats.Flux
        memory_usage_factor = 1.0

    settings = {"flux": FLUX, "flux2": FLUX2, "chroma": CHROMA, "unet": UNET}[kind]
    config = Config(dict(settings))
    config.set_inference_dtype(torch.float32, None)
    torch.manual_seed(seed)
    if kind == "unet":
        model = comfy.model_base.BaseModel(config)
    elif kind == "chroma":
        model = comfy.model_base.Chroma(config)
    else:
        model = comfy.model_base.Flux(config)
    for name, parameter in model.diffusion_model.named_parameters():
        if "norm" in name and parameter.ndim == 1 and name.endswith(("scale", "weight")):
            parameter.data.fill_(1.0)
        elif parameter.ndim > 1:
            parameter.data.copy_(torch.randn(parameter.shape) / parameter[0].numel() ** 0.5)
        else:
            parameter.data.copy_(0.02 * torch.randn(parameter.shape))
    device = comfy.model_management.get_torch_device()
    patcher = comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))
    return patcher


def prompt(seed, length=9):
    """A CONDITIONING of so many tokens."""
    generator = torch.Generator().manual_seed(seed)
    context = torch.randn(1, length, 12, generator=generator)
    return [[context, {"pooled_output": torch.randn(1, 8, generator=generator), "guidance": 3.5}]]


def latents(kind, seed, height=11, width=6, count=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4 if kind == "unet" else 16, height, width, generator=generator)


def add_it_run(latent, conditioning, *, seed=7, guidance=1.0, settings=None, **how):
    """A run of Add-It on these source latents; by default gamma 1.05 throughout, from pure noise, without blending."""
    from visual_insertion_pack.nodes.host.add_it_run import AddItRun
    from visual_insertion_pack.nodes.host.add_it_source import Source
    from visual_insertion_pack.pipelines.add_it.windows import AddItSettings

    plain = dict(gamma=1.05, double_until=1.0, single_until=1.0, start=0.0, blend=None)
    source = Source(latent, conditioning, guidance=guidance, seed=seed)
    return AddItRun(source, AddItSettings(**(plain | (settings or {}))), **how)


def sigmas_of(comfy, model, steps=4, scheduler="simple"):
    return comfy("BasicScheduler", model=model, scheduler=scheduler, steps=steps, denoise=1.0)[0]


def sampled(comfy, model, positive, latent, sigmas, *, seed=1, negative=None, cfg=1.0, sampler="euler", noise=None):
    """LATENT tensors (output, denoised) of the host's own sampler node."""
    if negative is None:
        (guider,) = comfy("BasicGuider", model=model, conditioning=positive)
    else:
        (guider,) = comfy("CFGGuider", model=model, positive=positive, negative=negative, cfg=cfg)
    output, denoised = comfy(
        "SamplerCustomAdvanced",
        noise=comfy("RandomNoise", noise_seed=seed)[0] if noise is None else Noise(noise),
        guider=guider,
        sampler=comfy("KSamplerSelect", sampler_name=sampler)[0],
        sigmas=sigmas,
        latent_image=latent if isinstance(latent, dict) else {"samples": latent},
    )
    return SimpleNamespace(output=output["samples"], denoised=denoised["samples"], latent=output)


class Noise:
    """NOISE of given numbers."""

    seed = 0

    def __init__(self, noise):
        self.noise = noise

    def generate_noise(self, latent):
        return self.noise.clone()


def no_noise(like):
    return torch.zeros_like(like)


def far(a, b):
    """The largest difference, as a share of the second's largest value."""
    return float((a - b).abs().max() / b.abs().max())
