"""`import visual_insertion_pack as vi`: loaded when it is used, called by diffusers' names, and its examples run."""

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import visual_insertion_pack as vi
from visual_insertion_pack.pipelines.evaluation.benchmarks import READERS
from visual_insertion_pack.pipelines.front_door import calls
from visual_insertion_pack.pipelines.sampling.guidance import Guidance

ROOT = Path(__file__).resolve().parents[2]
SCENE = ROOT / "playroom_models" / "samples" / "scene.png"
OBJECT = ROOT / "playroom_models" / "samples" / "object.png"
LAZY = """
import sys
sys.path.insert(0, {devtools!r})
from pack import load_pack
vi = load_pack()
assert vi.__version__.count(".") == 2, vi.__version__
assert {{"VisualInsertionPipeline", "read_benchmark", "__version__"}} <= set(dir(vi))
assert not hasattr(vi, "NODE_CLASS_MAPPINGS")
assert "torch" not in sys.modules
vi.VisualInsertionPipeline.from_pretrained("playroom_models")
hosts = {{"comfy", "folder_paths", "nodes", "server", "execution"}}
assert "torch" in sys.modules and not hosts & set(sys.modules)
"""


@pytest.fixture(scope="module")
def pipe():
    return vi.VisualInsertionPipeline.from_pretrained("playroom_models")


def pixels(output):
    return [np.asarray(picture) for picture in output.images]


@pytest.fixture(scope="module")
def plain(pipe):
    """What the own pipeline makes of the sample with seed 3."""
    own = pipe.own(Image.open(SCENE), Image.open(OBJECT), guidance=Guidance(3.0, 1.5), steps=2, seed=3)
    return np.asarray(own.pictures()[0])


def test_importing_it_loads_nothing_slow_and_never_the_host(tmp_path):
    code = LAZY.format(devtools=str(ROOT / "devtools"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["pipelines", "benchmarks"])
def test_the_examples_in_its_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = import_module(f"visual_insertion_pack.pipelines.front_door.{name}")
    result = doctest.testmod(module)
    assert result.attempted >= 3 and result.failed == 0


def test_every_public_class_and_function_has_an_example():
    for name in (*vi.PYTHON, "save_pretrained"):
        thing = getattr(vi, name, None) or vi.VisualInsertionPipeline.save_pretrained
        if callable(thing) and name != "Output":
            assert ">>> " in thing.__doc__, name


def test_diffusers_names_and_ours_make_the_own_pipelines_picture(pipe, plain):
    ours = pipe(scene=SCENE, objects=OBJECT, steps=2, seed=3, object_scale=3.0, scene_scale=1.5, restore=False)
    options = dict(num_inference_steps=2, guidance_scale=3.0, image_guidance_scale=1.5, seed=3, restore=False)
    theirs = pipe(image=SCENE, objects=OBJECT, **options)
    assert np.array_equal(pixels(ours)[0], plain) and np.array_equal(pixels(theirs)[0], plain)


@pytest.mark.parametrize("form", ["text", "array", "shares", "tensor", "batch"])
def test_a_scene_may_come_in_any_form(pipe, plain, form):
    array = np.array(Image.open(SCENE).convert("RGB"))
    forms = {
        "text": str(SCENE),
        "array": array,
        "shares": array / 255,
        "tensor": torch.from_numpy(array).float() / 255,
        "batch": array[None],
    }
    made = pipe(forms[form], objects=OBJECT, steps=2, seed=3, guidance=Guidance(3.0, 1.5), restore=False)
    assert np.abs(pixels(made)[0].astype(int) - plain).max() <= 1


def test_what_the_object_did_not_change_is_the_scenes_own(pipe):
    scene = np.asarray(Image.open(SCENE).convert("RGB"))
    kept = (pixels(pipe(SCENE, objects=OBJECT, steps=2))[0] == scene).all(-1).mean()
    raw = (pixels(pipe(SCENE, objects=OBJECT, steps=2, restore=False))[0] == scene).all(-1).mean()
    assert kept > 0.2 and kept > 2 * raw


def test_scenes_of_several_sizes_are_a_batch_and_seeds_follow_each_other(pipe):
    small = Image.open(SCENE).resize((96, 64))
    made = pipe([SCENE, small], objects=OBJECT, steps=1, seed=5, num_images_per_prompt=2)
    assert [picture.size for picture in made.images] == [(128, 128)] * 2 + [(96, 64)] * 2
    assert made.seeds == [5, 6, 7, 8]
    alone = pipe(small, objects=OBJECT, steps=1, seed=7)
    assert np.array_equal(pixels(alone)[0], pixels(made)[2])


def test_a_generator_makes_the_same_again_and_moves_on(pipe):
    def made(generator):
        return pipe(SCENE, objects=OBJECT, steps=1, generator=generator).seeds

    generator = torch.Generator().manual_seed(1)
    first = made(generator)
    assert made(generator) != first and made(torch.Generator().manual_seed(1)) == first
    with pytest.raises(ValueError, match="2 generators do not pair up with 1 pictures"):
        made([generator, generator])


def test_results_come_as_arrays_too(pipe):
    array = pipe([SCENE, SCENE], objects=OBJECT, steps=1, output_type="np").images
    tensor = pipe(SCENE, objects=OBJECT, steps=1, output_type="pt").images
    assert array.shape == (2, 128, 128, 3) and array.max() <= 1 and tensor.shape == (1, 128, 128, 3)
    with pytest.raises(ValueError, match="output_type must be one of pil, np, pt"):
        pipe(SCENE, objects=OBJECT, output_type="latent")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt": "a ball"}, "prompt= is not taken here: this pipeline is shown its object: give objects="),
        ({"height": 512}, "height= is not taken here: the result has the scene's own size"),
        ({"eta": 0.5}, "eta= is not taken here: choose a sampler instead"),
        ({"num_inference_step": 5}, "num_inference_steps= is meant, perhaps"),
        ({"steps": 5, "num_inference_steps": 5}, "num_inference_steps and steps are one setting"),
        ({"guidance": (3, 1.5)}, "guidance= is a Guidance; numbers go by guidance_scale= and image_guidance_scale="),
        ({"objects": 7}, "objects= is int; needed is a path, a PIL picture, or an array"),
    ],
)
def test_another_setting_is_refused_with_the_right_name(pipe, given, message):
    with pytest.raises(TypeError) as error:
        pipe(SCENE, **{"objects": OBJECT, **given})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (np.zeros((3, 64, 64), np.uint8), "the last of its sizes must be the channels"),
        (np.full((64, 64, 3), 200.0), "numbers outside of 0..1"),
        (np.full((64, 64, 3), np.nan), "numbers outside of 0..1"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(pipe, scene, message):
    with pytest.raises(ValueError, match=message):
        pipe(scene, objects=OBJECT)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        pipe("nowhere.png", objects=OBJECT)
    with pytest.raises(TypeError, match="objects= is missing"):
        pipe(SCENE)


def test_every_refusal_names_a_setting_that_is_not_taken():
    for kind in (vi.VisualInsertionPipeline, vi.PaintByExamplePipeline, vi.AddItPipeline):
        assert not set(kind.aliases) & set(kind.refused)
    assert "prompt" in calls.REFUSED and "prompt" not in vi.AddItPipeline.refused


def test_a_saved_pipeline_makes_the_same_picture(pipe, plain, tmp_path):
    pipe.save_pretrained(tmp_path / "mine")
    again = vi.VisualInsertionPipeline.from_pretrained(str(tmp_path / "mine"))
    assert again.own.guidance == pipe.own.guidance
    made = again(SCENE, objects=OBJECT, steps=2, seed=3, guidance=Guidance(3.0, 1.5), restore=False)
    assert np.array_equal(pixels(made)[0], plain)
    pipe.save_pretrained(tmp_path / "mine")  # ours to write over
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    with pytest.raises(ValueError, match="holds file, which would be written over"):
        pipe.save_pretrained(tmp_path / "other")


def test_it_moves_to_a_type_and_back(pipe):
    pipe.to("cpu", torch.float64)
    assert {parameter.dtype for network in pipe.networks for parameter in network.parameters()} == {torch.float64}
    assert pipe.to(torch.float32) is pipe


def test_a_folder_that_is_not_there_is_not_downloaded():
    with pytest.raises(FileNotFoundError, match="pix2pix is not a folder on this machine, and nothing"):
        vi.VisualInsertionPipeline.from_pretrained("timbrooks/instruct-pix2pix")


def test_benchmarks_are_read_by_name(tmp_path):
    assert vi.BENCHMARKS == ("playroom", "playroom-objects", *READERS)
    with pytest.raises(ValueError, match="no benchmark 'pip': pipe is meant, perhaps"):
        vi.read_benchmark("pip")
    with pytest.raises(ValueError, match="Where is pipe"):
        vi.read_benchmark("pipe")
    with pytest.raises(FileNotFoundError):
        vi.read_benchmark("pipe", str(tmp_path))


def test_add_its_folder_is_copied_but_not_into_itself(tmp_path):
    pipe = vi.AddItPipeline.from_pretrained("playroom_flux")
    pipe.save_pretrained(tmp_path / "mine")
    again = vi.AddItPipeline.from_pretrained(tmp_path / "mine")
    pairs = zip(pipe.own.flow.transformer.parameters(), again.own.flow.transformer.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    with pytest.raises(ValueError, match="which it would be a copy of"):
        again.save_pretrained(tmp_path / "mine" / "inside")
