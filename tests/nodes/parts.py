"""What several tests of the nodes do."""

import torch
from safetensors.torch import save_file


def relative(a, b):
    """How far tensors are apart, as a share of the second."""
    return float((a - b).norm() / b.norm())


def run_guider(comfy, guider, latent, sigmas, *, seed, sampler="euler"):
    """The host's SamplerCustomAdvanced on a guider: its LATENT."""
    return comfy(
        "SamplerCustomAdvanced",
        noise=comfy("RandomNoise", noise_seed=seed)[0],
        guider=guider,
        sampler=comfy("KSamplerSelect", sampler_name=sampler)[0],
        sigmas=sigmas,
        latent_image=latent,
    )[0]


def random_controlnet(model):
    """The host's ControlNet, as large as a MODEL's UNet, with random weights."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops

    config = {name: value for name, value in model.model.model_config.unet_config.items() if name != "out_channels"}
    torch.manual_seed(5)
    network = comfy.cldm.cldm.ControlNet(
        **config | dict(in_channels=4, hint_channels=3, dtype=torch.float32), operations=comfy.ops.manual_cast
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():  # the host leaves them as the memory was
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
            else:
                parameter.fill_(float(name.endswith("weight")))  # of norms
    return comfy.controlnet.ControlNet(network.eval(), manual_cast_dtype=torch.float32)


def random_lora(comfy, model, name):
    """A LoRA of the cross-attention's values in the host's folder, by this name; the weights that it changes."""
    weights = model.model_state_dict()
    names = [name for name in weights if name.endswith("attn2.to_v.weight")]
    generator = torch.Generator().manual_seed(0)
    lora = {}
    for weight in names:
        rows, columns = weights[weight].shape
        stem = weight.removesuffix(".weight")
        lora[f"{stem}.lora_up.weight"] = torch.randn(rows, 2, generator=generator)
        lora[f"{stem}.lora_down.weight"] = torch.randn(2, columns, generator=generator)
    folder = comfy.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_file(lora, folder / name)
    return names


def with_lora(comfy, model, name, strength):
    return comfy("LoraLoaderModelOnly", model=model, lora_name=name, strength_model=strength)[0]


def controlled(comfy, network, hint, positive, negative, strength=1.0):
    """(positive, negative) with a ControlNet over all steps."""
    given = dict(positive=positive, negative=negative, control_net=network, image=hint, strength=strength)
    return comfy("ControlNetApplyAdvanced", **given, start_percent=0.0, end_percent=1.0)
