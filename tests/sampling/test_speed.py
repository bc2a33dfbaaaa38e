"""What a speed is: presets that belong to a model, and what they leave to the artist."""

import json
from dataclasses import replace

import pytest

from visual_insertion_pack.pipelines.commands import _scenes
from visual_insertion_pack.pipelines.sampling.guidance import Guidance
from visual_insertion_pack.pipelines.sampling.schedulers import SAMPLERS, SPREADS
from visual_insertion_pack.pipelines.sampling.speed import (
    SCHEDULERS,
    SPEEDS,
    UNMEASURED,
    Preset,
    as_facts,
    chosen,
    presets_in,
    remark,
    settings_of,
)

OWN = {
    "balanced": Preset("euler_ancestral", "karras", 6, loss="nothing"),
    "fast": Preset("euler", "simple", 4, scene_scale=1.0, loss="little"),
}


def test_exact_has_no_preset_and_leaves_no_trace():
    assert chosen("exact", UNMEASURED) is None
    assert remark("exact", None, Guidance()) == ""
    assert settings_of("exact", None) == {}


@pytest.mark.parametrize("speed", SPEEDS[1:])
def test_presets_keep_all_of_the_guidance_but_the_scenes_scale(speed):
    guidance = Guidance(object_scale=4.0, scene_scale=1.3, object_end=0.8, object_rescale=0.5)
    preset = chosen(speed, UNMEASURED)
    assert preset.guided(guidance) == (replace(guidance, scene_scale=1.0) if speed == "fast" else guidance)
    assert preset.sampler in SAMPLERS and preset.scheduler in SPREADS


def test_what_ran_is_said_and_so_is_what_is_lost():
    said = remark("fast", OWN["fast"], Guidance(scene_scale=1.5))
    assert said == (
        "fast: euler, simple, 4 steps, in place of the widgets'; scene scale 1 in place of 1.5. Against exact: little."
    )
    assert "scene scale" not in remark("fast", OWN["fast"], Guidance(scene_scale=1.0))
    assert "not measured" in remark("fast", UNMEASURED["fast"], Guidance())
    assert settings_of("fast", OWN["fast"]) == dict(speed="fast", sampler="euler", scheduler="simple", steps=4)


def test_a_model_brings_presets_of_its_own(tmp_path):
    facts = tmp_path / "facts.json"
    assert presets_in(facts) == UNMEASURED
    facts.write_text(json.dumps({"guidance": 3.0}))
    assert presets_in(facts) == UNMEASURED
    facts.write_text(json.dumps({"speed": as_facts(OWN)}))
    assert presets_in(facts) == OWN
    facts.write_text(json.dumps({"speed": as_facts({"fast": OWN["fast"]})}))
    assert presets_in(facts) == {"balanced": UNMEASURED["balanced"], "fast": OWN["fast"]}


GOOD = {"sampler": "euler", "scheduler": "normal", "steps": 4}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"swift": GOOD}, "There is no speed 'swift' that could have a preset"),
        ({"exact": GOOD}, "There is no speed 'exact' that could have a preset"),
        ({"fast": GOOD | {"scheduler": "beta"}}, "scheduler must be one of normal, karras, simple, not 'beta'"),
        ({"fast": GOOD | {"steps": 0}}, "at least 1 step, not 0"),
        ({"fast": GOOD | {"scene_scale": -1}}, "scene_scale must be a number from 0 to 1000; got -1"),
        ({"fast": GOOD | {"students": 1}}, "unexpected keyword argument 'students'"),
        ({"fast": 8}, "facts.json cannot be read"),
    ],
)
def test_presets_that_cannot_be_used_are_refused_by_the_files_name(tmp_path, table, message):
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps({"speed": table}))
    with pytest.raises(ValueError, match="facts.json cannot be read") as refused:
        presets_in(facts)
    assert message in str(refused.value)


def test_an_unknown_speed_is_refused():
    with pytest.raises(ValueError, match="Unknown speed 'slow'; use exact, balanced, fast"):
        chosen("slow", UNMEASURED)


def test_names_are_the_same_everywhere():
    assert _scenes.SPEEDS == SPEEDS
    assert set(SCHEDULERS) == set(SPREADS)
