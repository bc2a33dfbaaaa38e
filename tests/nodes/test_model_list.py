"""What loaders offer and find: names from another system, odd names, folders that are linked in circles."""

import os

import pytest

LOADERS = {
    "EmbeddingOptimizerLoader": "embedding_optimizers/sub/x.safetensors",
    "Pix2PixUNetLoader": "diffusion_models/sub/x.safetensors",
    "PaintByExampleLoader": "checkpoints/sub/x.safetensors",
}


@pytest.fixture
def models(comfy):
    return comfy.base / "models"


@pytest.fixture
def loader(comfy):
    return lambda node: comfy.nodes.NODE_CLASS_MAPPINGS[node]


def put(path, content=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.mark.parametrize("node", LOADERS)
@pytest.mark.parametrize("name", ["sub/x.safetensors", "sub\\x.safetensors"])
def test_a_name_that_another_system_saved_is_found(loader, models, node, name):
    file = put(models / LOADERS[node])
    try:
        assert loader(node).validate_inputs(name=name) is True
    finally:
        file.unlink()


@pytest.mark.parametrize("name", ["sub/u", "sub\\u"])
def test_a_folder_that_another_system_named_is_found(loader, models, name):
    put(models / "diffusers" / "sub" / "u" / "unet" / "config.json", "{}")
    assert loader("Pix2PixUNetLoader").validate_inputs(name=name) is True


@pytest.mark.parametrize("node", LOADERS)
@pytest.mark.parametrize("name", [5, 1.5, True, {"a": 1}, ["x", "y", "z"], []])
def test_what_is_no_name_is_said_before_the_run(loader, node, name):
    said = loader(node).validate_inputs(name=name)
    assert isinstance(said, str) and said.startswith("'name' must be that of one ") and repr(name) in said


@pytest.mark.parametrize("node", LOADERS)
def test_no_name_at_all_is_said(comfy, node):
    with pytest.raises(ValueError, match=r"^'name' must be that of one .*, not None\. Put "):
        comfy(node, name=None)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_that_lead_in_circles_are_followed_once(loader, models):
    top = models / "diffusers" / "circles"
    put(top / "model" / "unet" / "config.json", "{}")
    links = [top / name for name in ("above", "again", "linked")]
    for link, target in zip(links, (top, top, top / "model"), strict=True):
        link.symlink_to(target, target_is_directory=True)
    try:
        schema = loader("Pix2PixUNetLoader").define_schema()
        names = [name for name in schema.inputs[0].options if name.startswith("circles")]
        assert {"circles/model", "circles/linked"} <= set(names), "a link to a model is a name of its own"
        assert len(names) < 10
    finally:
        for link in links:
            link.unlink()
