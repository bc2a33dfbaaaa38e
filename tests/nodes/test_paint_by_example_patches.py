"""What else steers a model works on Paint by Example: the host's own LoRA and ControlNet nodes, on the toys."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from visual_insertion_pack.pipelines.paint_by_example.pipeline import PaintByExamplePipeline
from visual_insertion_pack.tests.nodes.parts import controlled, random_controlnet, relative, with_lora

PLAYROOM = Path(__file__).resolve().parents[2] / "playroom_models" / "paint_by_example"
LORA, RANK = "paint_by_example_test.safetensors", 4
SCENE = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
EXEMPLAR = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(2))
MASK = torch.zeros(1, 64, 64)
MASK[:, 16:48, 16:48] = 1


@pytest.fixture(scope="module")
def kit(comfy):
    kit = SimpleNamespace()
    kit.model, kit.vae, vision, encoder = comfy("PaintByExamplePlayroomModels")
    positive, negative = comfy("PaintByExampleEncode", clip_vision=vision, exemplar_encoder=encoder, image=EXEMPLAR)
    given = dict(positive=positive, negative=negative, vae=kit.vae, image=SCENE, mask=MASK)
    kit.positive, kit.negative, kit.latent = comfy("PaintByExampleConditioning", **given)
    return kit


@pytest.fixture
def sample(comfy, kit):
    def sample(**changes):
        given = dict(model=kit.model, positive=kit.positive, negative=kit.negative, latent_image=kit.latent)
        settings = dict(seed=3, steps=4, cfg=3.0, sampler_name="euler", scheduler="normal", denoise=1.0)
        return comfy("KSampler", **given | settings | changes)[0]["samples"]

    return sample


@pytest.fixture(scope="module")
def unet():
    """The same UNet in the stand-alone pipeline."""
    return PaintByExamplePipeline.from_folder(PLAYROOM)


@pytest.fixture(scope="module")
def lora(comfy, unet):
    """A small LoRA of the cross-attention's values in the host's folder; by parameter, what it adds."""
    draw = torch.Generator().manual_seed(4)
    names = [name for name, _ in unet.unet.named_parameters() if name.endswith("attn2.to_v.weight")]
    added, state = {}, {}
    for name in names:
        up, down = (torch.randn(shape, generator=draw) * 0.1 for shape in ((128, RANK), (RANK, 128)))
        key = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        state |= {f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down, f"{key}.alpha": torch.tensor(RANK)}
        added[name] = up @ down
    path = comfy.base / "models" / "loras" / LORA
    path.parent.mkdir(exist_ok=True)
    save_file(state, path)
    yield added
    path.unlink()


def test_a_lora_changes_the_result_by_its_strength(comfy, kit, sample, lora, caplog):
    plain = sample()
    assert torch.equal(sample(model=with_lora(comfy, kit.model, LORA, 0.0)), plain)
    half, whole = (sample(model=with_lora(comfy, kit.model, LORA, strength)) for strength in (0.5, 1.0))
    assert "not loaded" not in caplog.text.lower()
    assert relative(half, plain) > 0.01 and relative(whole, half) > 0.01
    assert torch.equal(sample(), plain), "the original is spared"


def test_a_lora_is_what_it_adds_to_the_weights(comfy, kit, sample, lora, unet):
    """In the host by its own loader, outside it by hand; also over the host's channel order."""
    made = sample(model=with_lora(comfy, kit.model, LORA, 1.0))
    weights = dict(unet.unet.named_parameters())
    with torch.no_grad():
        for name, tensor in lora.items():
            weights[name] += tensor
        alone = unet(SCENE, MASK, EXEMPLAR, steps=4, sampler="euler", similarity=3.0, seed=3).latents
        for name, tensor in lora.items():
            weights[name] -= tensor
    assert relative(made, alone) <= 1e-3


def test_a_controlnet_steers_it(comfy, kit, sample):
    plain, hint = sample(), MASK[..., None].expand(-1, -1, -1, 3)
    network = random_controlnet(kit.model)

    def steered(strength, image=hint):
        positive, negative = controlled(comfy, network, image, kit.positive, kit.negative, strength)
        return sample(positive=positive, negative=negative)

    assert torch.equal(steered(0.0), plain)
    assert relative(steered(1.0), plain) > 0.01
    assert relative(steered(1.0, 1 - hint), steered(1.0)) > 1e-3
