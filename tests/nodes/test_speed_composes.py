"""What else steers a model goes with every speed and with students: the host's own LoRA and ControlNet nodes."""

from types import SimpleNamespace

import pytest
import torch

from visual_insertion_pack.tests.nodes.parts import controlled, random_controlnet, random_lora, relative, with_lora

LORA = "speed_test.safetensors"
SCENE = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
OBJECT = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def kit(comfy):
    kit = SimpleNamespace()
    kit.model, kit.vae, vision, optimizer = comfy("PlayroomModels")
    (seen,) = comfy("ObjectImageEncode", clip_vision=vision, image=OBJECT)
    kit.positive, kit.negative = comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=seen)
    (kit.guidance,) = comfy("GuidanceControl", object_scale=2.5, scene_scale=1.2)
    kit.control = random_controlnet(kit.model)
    random_lora(comfy, kit.model, LORA)
    return kit


@pytest.fixture(params=["balanced", "fast", "playroom: guidance", "playroom: few_step"])
def way(request, comfy, kit):
    """(speed, what makes the MODEL that a way needs of one)."""
    if not request.param.startswith("playroom"):
        return request.param, lambda model: model
    return "fast", lambda model: comfy("ApplyStudent", model=model, name=request.param)[0]


def insert(comfy, kit, speed, model, **changes):
    inputs = dict(vae=kit.vae, scene=SCENE, positive=kit.positive, negative=kit.negative, guidance=kit.guidance)
    settings = dict(seed=3, steps=20, sampler_name="euler", scheduler="normal", denoise=1.0, speed=speed)
    made = comfy("ImageConditionedPix2PixSampler", model=model, **inputs | settings | changes)[0]["samples"]
    assert torch.isfinite(made).all()
    return made


def test_a_lora_goes_with_it_in_either_order(comfy, kit, way):
    speed, taught = way
    before = insert(comfy, kit, speed, taught(kit.model))
    first = insert(comfy, kit, speed, taught(with_lora(comfy, kit.model, LORA, 0.5)))
    last = insert(comfy, kit, speed, with_lora(comfy, taught(kit.model), LORA, 0.5))
    assert relative(first, before) > 0.01
    assert relative(last, first) <= 1e-3  # sums of weights in another order
    assert torch.equal(insert(comfy, kit, speed, taught(kit.model)), before)


def test_a_controlnet_steers_it(comfy, kit, way):
    speed, taught = way
    model = taught(kit.model)
    hint = torch.zeros_like(SCENE)
    hint[:, 16:48, 16:48] = 1
    plain = insert(comfy, kit, speed, model)

    def steered(strength, image=hint):
        positive, negative = controlled(comfy, kit.control, image, kit.positive, kit.negative, strength)
        return insert(comfy, kit, speed, model, positive=positive, negative=negative)

    assert torch.equal(steered(0.0), plain)
    assert relative(steered(1.0), plain) > 0.01
    assert relative(steered(1.0, 1 - hint), steered(1.0)) > 1e-3
