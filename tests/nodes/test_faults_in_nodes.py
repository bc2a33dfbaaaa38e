"""Faults at a named step of the sampler: each is said, and the next run is to the bit what it would have been."""

import pytest
import torch

STEPS = 3


@pytest.fixture(scope="module")
def sample(comfy):
    """sample(fault): latents; `fault` gets the second thing that the UNet gives, and gives what takes its place."""
    model, vae, clip_vision, optimizer = comfy("PlayroomModels")
    picture = torch.rand(1, 48, 48, 3, generator=torch.Generator().manual_seed(0))
    scene = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
    seen = comfy("ObjectImageEncode", clip_vision=clip_vision, image=picture)[0]
    positive, negative = comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=seen)

    def run(fault=None):
        calls = []

        def evaluate(function, parts):
            calls.append(1)
            result = function(parts["input"], parts["timestep"], **parts["c"])
            return fault(result) if fault and len(calls) == 2 else result

        patched = model.clone()
        patched.set_model_unet_function_wrapper(evaluate)
        inputs = dict(model=patched, vae=vae, scene=scene, positive=positive, negative=negative)
        settings = dict(seed=7, steps=STEPS, sampler_name="euler", scheduler="normal", denoise=1.0)
        latents = comfy("ImageConditionedPix2PixSampler", **inputs, **settings)[0]["samples"]
        assert len(calls) >= STEPS
        return latents

    return run


def raising(make):
    def fault(result):
        raise make()

    return fault


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        (raising(lambda: torch.OutOfMemoryError("injected")), torch.OutOfMemoryError, "injected"),
        (raising(lambda: RuntimeError("injected")), RuntimeError, "injected"),
        (raising(lambda: MemoryError("injected")), MemoryError, "injected"),
        (lambda result: result * float("nan"), ValueError, "not finite"),
    ],
    ids=["out of memory", "a crash", "out of the machine's memory", "NaN"],
)
def test_a_fault_is_said_and_the_next_run_is_what_it_would_have_been(sample, fault, error, said):
    undisturbed = sample()
    with pytest.raises(error, match=said):
        sample(fault)
    assert torch.equal(sample(), undisturbed)


def test_a_cancelled_step_leaves_no_trace(sample, comfy):
    import comfy.model_management as management

    undisturbed = sample()
    with pytest.raises(management.InterruptProcessingException):
        sample(raising(management.InterruptProcessingException))
    assert torch.equal(sample(), undisturbed)
