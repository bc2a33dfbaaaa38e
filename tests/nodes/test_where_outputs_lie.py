"""Pictures and masks are handed on where the host keeps them: with --gpu-only on the GPU, not where we compute."""

import pytest
import torch

SCENE = torch.rand(1, 64, 80, 3, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(1, 64, 80)
MASK[:, 20:40, 20:40] = 1
EDITED = torch.where(MASK[..., None] > 0, 1 - SCENE, SCENE)
BOX = dict(x=20, y=20, width=24, height=24)
REGION = dict(image=SCENE, mask=MASK, expansion=0.5, working_size=64, regions="together")
FITTING = dict(image=SCENE, model="FLUX.1 Kontext", method="pad")
OUTPUTS = {
    "BoxToMask": dict(image=SCENE, **BOX),
    "ArbitraryMask": dict(image=SCENE, seed=0, **BOX),
    "PlaceObject": dict(scene=SCENE, object_image=SCENE, object_mask=MASK, **BOX),
    "RestoreScene": dict(scene=SCENE, edited=EDITED, align_geometry=False),
    "SplitLayers": dict(scene=SCENE, image=EDITED, object_mask=MASK, effect_mask=MASK),
    "LocalRegionCrop": REGION,
    "FitForEdit": FITTING,
}


@pytest.fixture
def elsewhere(comfy, monkeypatch):
    """elsewhere(node, inputs): the outputs of a node in a host that keeps pictures on another device."""
    import comfy.model_management as management

    def run(node, **inputs):
        with monkeypatch.context() as patch:
            patch.setattr(management, "intermediate_device", lambda: torch.device("meta"))
            return [output for output in comfy(node, **inputs) if isinstance(output, torch.Tensor)]

    return run


@pytest.mark.parametrize("node", OUTPUTS)
def test_outputs_lie_where_the_host_keeps_them(comfy, elsewhere, node):
    here = [output for output in comfy(node, **OUTPUTS[node]) if isinstance(output, torch.Tensor)]
    there = elsewhere(node, **OUTPUTS[node])
    assert here and [output.shape for output in there] == [output.shape for output in here]
    assert {output.device.type for output in here} == {"cpu"} and {output.device.type for output in there} == {"meta"}


def test_what_comes_back_from_a_region_or_a_fit_does_too(comfy, elsewhere):
    crop, _, region, _ = comfy("LocalRegionCrop", **REGION)
    pasted = elsewhere("LocalRegionPaste", local_region=region, image=crop, feather=4, colour_match=0.0, area="mask")
    fitted, _, fit, *_ = comfy("FitForEdit", **FITTING)
    undone = elsewhere("UndoFit", image=fitted, fit=fit)
    assert [output.device.type for output in (*pasted, *undone)] == ["meta"] * 3
