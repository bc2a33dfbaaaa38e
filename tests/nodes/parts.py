"""What several tests of the nodes do."""


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
