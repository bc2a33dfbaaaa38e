"""Insertion Models: what belongs together comes together."""

import pytest
import torch

from visual_insertion_pack.pipelines.playroom.visual_insertion.recipe import GUIDANCE
from visual_insertion_pack.pipelines.visual_insertion.presets import PRESETS


def test_toys_come_with_the_scales_and_the_size_of_the_playroom(comfy):
    model, vae, clip_vision, optimizer, guidance, megapixels, working_size = comfy("InsertionModels", preset="toys")
    assert (guidance.object_scale, guidance.scene_scale) == (GUIDANCE.object_scale, GUIDANCE.scene_scale)
    assert working_size == 128
    scene = torch.rand(1, 300, 400, 3)
    fitted = comfy("FitForEdit", image=scene, model="custom", method="pad", multiple=8, megapixels=megapixels)[0]
    assert abs(fitted.shape[1] * fitted.shape[2] / 128**2 - 1) < 0.1
    features = comfy("ObjectImageEncode", clip_vision=clip_vision, image=scene)[0]
    positive, negative = comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=features)
    latent, _ = comfy(
        "ImageConditionedPix2PixSampler",
        model=model,
        vae=vae,
        scene=fitted,
        positive=positive,
        negative=negative,
        guidance=guidance,
        seed=0,
        steps=1,
        sampler_name="euler",
        scheduler="normal",
        denoise=1.0,
    )
    assert torch.isfinite(latent["samples"]).all()


def put(comfy, folder, name):
    path = comfy.base / "models" / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def photographs(comfy, monkeypatch):
    """Loads the preset with stand-ins for the three loaders; what each was given."""
    from visual_insertion_pack.nodes.host import stock_loaders

    loaded = []

    def load(*answer):
        return lambda path, **settings: (loaded.append(str(path)), answer if len(answer) > 1 else answer[0])[1]

    monkeypatch.setattr(stock_loaders.comfy.sd, "load_checkpoint_guess_config", load("model", None, "vae", None))
    monkeypatch.setattr(stock_loaders.comfy.clip_vision, "load", load("encoder"))
    monkeypatch.setattr(stock_loaders, "load_embedding_optimizer", load("optimizer"))
    return lambda: (comfy("InsertionModels", preset="photographs"), loaded)


def test_photographs_come_from_any_version_of_the_checkpoint_the_small_one_first(comfy, photographs):
    files = [
        put(comfy, "checkpoints", "old/instruct-pix2pix-00-22000.safetensors"),
        put(comfy, "clip_vision", "clip-vit-large-patch14.safetensors"),
        put(comfy, "embedding_optimizers", "instruct-pix2pix-model-14-emb_opt.pt"),
    ]
    try:
        outputs, loaded = photographs()
        assert loaded == [str(file) for file in files]
        assert tuple(outputs)[:4] == ("model", "vae", "encoder", "optimizer")
        assert (outputs[4].object_scale, outputs[4].scene_scale, outputs[5], outputs[6]) == (7.5, 1.5, 0.25, 512)
        small = put(comfy, "checkpoints", "instruct-pix2pix-00-22000-pruned-fp16.safetensors")
        files.append(small)
        assert photographs()[1][3] == str(small)
    finally:
        for file in files:
            file.unlink()


def test_what_is_missing_is_said_before_a_run(comfy):
    from visual_insertion_pack.nodes.presets import InsertionModels

    sentence = InsertionModels.validate_inputs(preset="photographs")
    assert "instruct-pix2pix-00-22000-pruned-fp16.safetensors (checkpoint) was not found" in sentence
    assert "weights fetch instruct-pix2pix-pruned-fp16" in sentence
    assert InsertionModels.validate_inputs(preset="toys") is True
    assert "There is no preset" in InsertionModels.validate_inputs(preset="cartoons")


def test_every_preset_names_weights_of_the_manifest():
    from visual_insertion_pack.pipelines.weights.manifest import load_manifest

    manifest = load_manifest()
    for preset in PRESETS.values():
        assert all(name in manifest for ids in preset.weights for name in ids)
