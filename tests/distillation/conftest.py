"""A student of each kind, trained for a moment on the models that ship."""

from pathlib import Path

import pytest

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.playroom.world.folders import write_folder

MODELS = Path(__file__).resolve().parents[2] / "playroom_models"
SMALL = [
    *("run.steps=3", "run.log_every=1", "run.warmup=1", "run.precision=fp32", "run.validate_every=0"),
    *("batch=2", "data.runs=5", "data.held_out=0.2", "student.teacher_steps=2", "student.rank=4", "student.tokens=2"),
]


@pytest.fixture(scope="session")
def triplets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("triplets")
    write_folder(folder, range(5), views=1)
    return folder


@pytest.fixture(scope="session")
def train_student(triplets, tmp_path_factory):
    """train_student(recipe, folder, *changes): the exit code of the command on a recipe, made small."""
    cache = tmp_path_factory.mktemp("cache")

    def call(recipe, folder, *changes, options=()):
        places = {"data.train": triplets, "data.cache": cache, "folder": folder, "models.base": MODELS}
        changed = [f"{name}={path.as_posix()}" for name, path in places.items()]
        return main(["train", recipe, *options, "--set", *SMALL, *changed, *changes])

    return call


@pytest.fixture(scope="session")
def students(train_student, tmp_path_factory):
    """Files by kind."""
    folder = tmp_path_factory.mktemp("students")
    assert train_student("guidance_student_playroom", folder / "guidance") == 0
    guidance = folder / "guidance" / "student.safetensors"
    start = f"student.start={guidance.as_posix()}"
    assert train_student("few_step_student_playroom", folder / "few", start) == 0
    return {"guidance": guidance, "few_step": folder / "few" / "student.safetensors"}
