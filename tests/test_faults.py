"""Faults at named moments of the commands that write: nothing is lost, and the next run goes on to the same result."""

import os
import shutil

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="faults are injected into forked processes")
if hasattr(os, "fork"):
    from visual_insertion_pack.benchmarks import bench_faults
    from visual_insertion_pack.benchmarks.faulty_commands import Fault, FaultyCommands

STEP = "pipelines.training.trainer:Trainer.step"
LOSS = "pipelines.visual_insertion.training.insertion_task:InsertionTask.loss"


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    with FaultyCommands(tmp_path_factory.mktemp("commands")) as commands:
        yield commands


@pytest.fixture(scope="module")
def works(commands, tmp_path_factory):
    """works("train"): the command made small, what an undisturbed run makes, and how long it takes."""
    made = {}

    def work_of(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            (kind,) = [kind for kind in bench_faults.WORKS if kind.name == name]
            work = kind(folder)
            whole = bench_faults.Trial(work, commands, folder / "whole")
            ended = whole.run()
            assert ended.code == 0, ended.said
            made[name] = (work, work.products(whole.output))
            assert made[name][1]
        return made[name]

    return work_of


@pytest.mark.parametrize(
    ("name", "kind", "where", "call", "said"),
    [
        ("train", "kill", STEP, 4, ""),
        ("train", "term", STEP, 3, "interrupted at step 2; run again to go on"),
        ("train", "nan", LOSS, 5, "stopped at step 4; run again to go on"),
        ("train", "memory", STEP, 2, "out of memory"),
        ("train", "disk", STEP, 3, "could not be written"),
        ("train", "kill", "pipelines.visual_insertion.training.recipe:save_patch", 1, ""),
        ("build-dataset", "kill", "pipelines.triplets.shards:cut_with_mask", 30, ""),
        ("build-dataset", "term", "pipelines.triplets.shards:cut_with_mask", 25, "Interrupted"),
        ("build-dataset", "disk", "pipelines.triplets.shards:cut_with_mask", 25, "could not be written"),
        ("evaluate", "kill", "pipelines.evaluation.protocol:save_picture", 7, ""),
        ("evaluate", "term", "pipelines.evaluation.report:save_picture", 3, "Interrupted"),
        ("evaluate", "disk", "pipelines.evaluation.report:save_picture", 2, "could not be written"),
    ],
)
def test_a_fault_loses_nothing_and_the_next_run_ends_as_an_undisturbed_one(
    works, commands, tmp_path, name, kind, where, call, said
):
    work, reference = works(name)
    trial = bench_faults.Trial(work, commands, tmp_path)
    ended = trial.run(fault=Fault(kind, where, call))
    again = trial.run()
    assert trial.problems(ended, again, reference) == []
    if said:
        assert said in ended.said and ended.code == 1, ended.said
    elif said == "":
        assert ended.code == -9


@pytest.mark.parametrize("number", [9, 15])
def test_a_fetch_that_is_stopped_goes_on(works, commands, tmp_path, number):
    work, reference = works("fetch")
    trial = bench_faults.Trial(work, commands, tmp_path)
    ended = trial.run(signal_after=(number, 0.3))
    assert ended.code == {9: -9, 15: 1}[number], ended.said
    assert trial.problems(ended, trial.run(), reference) == []


def test_a_fetch_onto_a_full_disk_says_so_and_goes_on(works, commands, tmp_path):
    work, reference = works("fetch")
    with bench_faults.small_disk(20) as disk:
        if not disk:
            pytest.skip("no file system may be mounted here: full disks need a Linux where we are root")
        trial = bench_faults.Trial(work, commands, disk)
        (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 1_000_000))
        ended = trial.run()
        assert ended.code == 1 and "does not fit" in ended.said, ended.said
        (disk / "ballast").unlink()
        assert trial.problems(ended, trial.run(), reference) == []


def test_two_trainings_in_one_folder_are_one_too_many(works, commands, tmp_path):
    from filelock import FileLock

    work, reference = works("train")
    trial = bench_faults.Trial(work, commands, tmp_path)
    with FileLock(trial.output / ".lock"):
        ended = trial.run()
    assert ended.code == 1 and "Another process is writing into" in ended.said
    assert trial.problems(ended, trial.run(), reference) == []
