"""`visual-insertion train` on a student's recipe."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from visual_insertion_pack.pipelines.commands import train
from visual_insertion_pack.pipelines.sampling.guidance import Guidance
from visual_insertion_pack.pipelines.visual_insertion.distillation import student as files
from visual_insertion_pack.pipelines.visual_insertion.distillation.training.low_rank_layers import LAYERS
from visual_insertion_pack.pipelines.weights.reading import metadata_of

RECIPES = ("guidance_student", "few_step_student", "guidance_student_playroom", "few_step_student_playroom")


def test_a_student_says_what_it_may_be_asked(students):
    guidance, few = (files.load(students[kind]).settings for kind in ("guidance", "few_step"))
    assert (guidance.kind, guidance.sampler, guidance.scheduler, guidance.steps) == (
        "guidance",
        "euler_ancestral",
        "simple",
        8,
    )
    assert (few.kind, few.sampler, few.steps, len(few.levels)) == ("few_step", "euler", 4, 4)
    assert guidance.levels[0] == pytest.approx(14.615, abs=1e-2) and guidance.ranges == ((1.0, 4.0), (1.0, 1.6))


def test_a_student_says_where_it_comes_from(students):
    notes = metadata_of(students["guidance"])
    assert notes["licence"] == "Apache-2.0" and notes["base"] == "playroom_models" and notes["steps"] == "3"
    assert len(notes["base_weights"]) == 12 and json.loads(notes["configuration"])["data"]["runs"] == 5


def test_the_patch_has_the_names_that_lora_loaders_know(students):
    tensors = load_file(students["guidance"])
    changed = {name.split(".")[0] for name in tensors if name.startswith("lora_unet_")}
    assert "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k" in changed
    assert (
        "lora_unet_down_blocks_0_resnets_0_conv1" in changed
        and "lora_unet_mid_block_resnets_1_time_emb_proj" in changed
    )
    assert all(tensor.dtype == torch.float16 for tensor in tensors.values())
    ups = [tensor for name, tensor in tensors.items() if name.endswith("lora_up.weight")]
    assert len(ups) == len(changed) and sum(bool(up.any()) for up in ups) > 0.9 * len(ups)


def test_training_that_goes_on_ends_as_if_it_had_not_stopped(train_student, students, tmp_path):
    for steps in (2, 3):
        assert (
            train_student("guidance_student_playroom", tmp_path / "run", f"run.steps={steps}", "run.final_rate=1.0")
            == 0
        )
    whole = tmp_path / "whole"
    assert train_student("guidance_student_playroom", whole, "run.final_rate=1.0") == 0
    first, second = (load_file(folder / "student.safetensors") for folder in (tmp_path / "run", whole))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_runs_are_made_once(train_student, students, tmp_path, capsys):
    capsys.readouterr()
    assert train_student("guidance_student_playroom", tmp_path / "again") == 0
    folder = Path(capsys.readouterr().out.split("5 runs in ")[1].splitlines()[0])
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    assert train_student("guidance_student_playroom", tmp_path / "third", "run.steps=2") == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")} and before


def test_the_error_on_held_out_runs_is_measured_in_the_precision_of_training(train_student, tmp_path):
    changes = ["run.precision=bf16", "run.validate_every=1", "run.steps=2"]
    assert train_student("guidance_student_playroom", tmp_path / "run", *changes) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row.get("validation_error", 0) > 0] == [1, 2]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_shipped_recipes_are_read(recipe):
    method, config = train.read(Path(recipe))
    assert method == "distilled" and config.run.steps > 0 and config.batch % config.run.accumulate == 0
    assert (config.student.start is not None) == (config.student.kind == "few_step")


@pytest.mark.parametrize("kind", ["guidance", "few_step"])
def test_a_dry_run_tells_what_it_takes_and_writes_nothing(train_student, students, tmp_path, capsys, kind):
    changes = ["data.train=nowhere"]
    if kind == "few_step":
        changes.append(f"student.start={students['guidance'].as_posix()}")
    assert train_student(f"{kind}_student_playroom", tmp_path / "dry", *changes, options=("--dry-run",)) == 0
    out = capsys.readouterr().out
    assert "unet: trains" in out and "scale_tokens: trains" in out and "steps: 3 x 2 samples" in out
    assert not (tmp_path / "dry").exists()


@pytest.mark.parametrize(
    ("recipe", "change", "code", "message"),
    [
        ("few_step_student_playroom", "student.start=null", 1, "set student.start to its file"),
        ("few_step_student_playroom", "student.start=nowhere.safetensors", 2, "nowhere.safetensors does not exist"),
        ("few_step_student_playroom", "student.start=GUIDANCE student.rank=8", 1, "is of another UNet or rank"),
        ("few_step_student_playroom", "student.start=GUIDANCE student.tokens=3", 1, "is a student with other tokens"),
        ("guidance_student_playroom", "scales.object_scale=[3.0,1.0]", 1, "object_scale must be a range, the smaller"),
        ("guidance_student_playroom", "student.kind=other", 1, "student.kind"),
        ("guidance_student_playroom", "data.train=nowhere", 2, "nowhere"),
        ("guidance_student_playroom", "models.base=nowhere", 2, "nowhere"),
        ("guidance_student_playroom", "data.runs=0", 1, "data.runs"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(
    train_student, students, tmp_path, capsys, recipe, change, code, message
):
    changes = change.replace("GUIDANCE", students["guidance"].as_posix()).split()
    found = train_student(recipe, tmp_path / "run", *changes)
    err = capsys.readouterr().err
    assert (found, message in err) == (code, True), err


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        (Guidance(7.5, 1.2), "has learned object scales from 1 to 4; asked is 7.5"),
        (Guidance(2.5, 2.0), "has learned scene scales from 1 to 1.6; asked is 2"),
        (Guidance(2.5, 1.2, object_rescale=0.7), "Set object_rescale to 0"),
    ],
)
def test_a_student_refuses_what_it_has_not_learned(students, guidance, message):
    with pytest.raises(ValueError, match=message):
        files.load(students["guidance"]).check(guidance)


def test_a_student_refuses_other_noise_levels(students):
    student = files.load(students["guidance"])
    levels = student.sigmas()
    for known in (levels, levels * 1.0005, levels[3:], levels[2:5], student.sigmas(0.5)):
        student.check_run(known)
    for other in (levels * 1.05, levels[::2], torch.cat([levels[:4], torch.zeros(1)]), levels[:1].repeat(2)):
        with pytest.raises(ValueError, match=r"the noise levels of 8 steps .*Set speed to fast"):
            student.check_run(other)


def test_layers_are_all_of_a_unets_matrices_but_the_ends():
    assert len(set(LAYERS)) == len(LAYERS)


def damaged(path, students):
    path.write_bytes(students["guidance"].read_bytes()[:-100])


def another_kind(path, _):
    path.write_bytes(
        (Path(__file__).resolve().parents[2] / "playroom_models/embedding_optimizer.safetensors").read_bytes()
    )


def without_tokens(path, students):
    student = files.load(students["guidance"])
    files.save(student, path)
    tensors, notes = load_file(path), metadata_of(path)
    from visual_insertion_pack.pipelines.weights.writing import save_tensors

    save_tensors(path, {name: x for name, x in tensors.items() if "scale_tokens.out" not in name}, notes)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damaged, "is not a readable safetensors file"),
        (another_kind, "is no student of this pack"),
        (without_tokens, "does not hold the tensors its own settings promise"),
    ],
)
def test_a_file_that_is_no_student_is_refused(students, tmp_path, spoil, message):
    path = tmp_path / "file.safetensors"
    spoil(path, students)
    with pytest.raises(ValueError, match=message):
        files.load(path)
