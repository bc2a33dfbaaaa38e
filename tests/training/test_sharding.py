"""Training whose networks are divided among processes (FSDP2): as one process trains, with a part of it in each.

The processes are real ones, started by `accelerate launch` as a user starts them.
"""

import json
import os
import random
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from visual_insertion_pack.benchmarks import bench_exactness
from visual_insertion_pack.benchmarks.figures import ROOT
from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.training.fsdp_settings import ShardingPlan, sharding_plan
from visual_insertion_pack.tests.training import sharded_line

CHANNELS = (32, 32, 32)
STEPS = 8
ON = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
PLAIN = ("-m", "accelerate.commands.launch", "--use_fsdp", "--fsdp_version", "2", "--main_process_port", "0")


def launch(*words, start=bench_exactness.SHARDED):
    """(exit code, what was printed) of a script in two processes that accelerate starts."""
    command = [sys.executable, *start, "--num_processes", "2", *words]
    run = subprocess.run(
        list(map(str, command)), env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=500
    )
    return run.returncode, (run.stdout + run.stderr).decode("utf-8", "replace")


def line(folder, *words, **options):
    return launch(ROOT / "devtools" / "pack.py", "tests.training.sharded_line", folder, *words, **options)


def silent(_):
    pass


def tensors_of(nest):
    """The tensors of a nest, by where they are."""
    if isinstance(nest, torch.Tensor):
        return {"": nest}
    items = nest.items() if isinstance(nest, dict) else enumerate(nest) if isinstance(nest, list) else ()
    return {f"{key}.{name}": tensor for key, value in items for name, tensor in tensors_of(value).items()}


def close(one, other):
    """Whether two files have the same tensors, whole and but for the order of sums."""
    files = [torch.load(path, weights_only=True) for path in (one, other)]
    a, b = map(tensors_of, files)
    assert a and a.keys() == b.keys()
    return all(type(b[name]) is torch.Tensor and torch.allclose(a[name], b[name], rtol=1e-5, atol=1e-6) for name in a)


def same_run(one, other, exports):
    """Whether two runs of the line have the same losses, checkpoint, exports and networks."""
    losses, others = ([row["loss"] for row in bench_exactness.losses(f) if "loss" in row] for f in (one, other))
    assert others == pytest.approx(losses, rel=1e-5, abs=1e-6)
    files = ["state.pt", "weights.pt", *(f"exports/step_{step:07d}/weights.pt" for step in exports)]
    return all(close(one / name, other / name) for name in files)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folders of runs of the line in one process, by their steps."""
    folders = {}
    for steps in (20, 30, 40):
        folders[steps] = tmp_path_factory.mktemp("whole")
        sharded_line.train(folders[steps], steps, report=silent)
    return folders


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """The folder of a run in two processes, with what each of them holds."""
    folder = tmp_path_factory.mktemp("sharded")
    code, said = line(folder, "--do", "count", "train", "--steps", 30, "--accumulate", 2)
    assert code == 0, said
    return folder


# as one process


def test_two_sharded_processes_train_as_one_does(whole, sharded):
    assert same_run(whole[30], sharded, exports=(10, 20, 30))
    assert close(whole[30] / "best" / "weights.pt", sharded / "best" / "weights.pt")
    errors = [
        [row["validation_error"] for row in bench_exactness.losses(folder) if "validation_error" in row]
        for folder in (whole[30], sharded)
    ]
    assert len(errors[0]) == 3 and errors[1] == pytest.approx(errors[0], rel=1e-5)


def test_each_process_holds_about_half(sharded):
    for process in range(2):
        counts = json.loads((sharded / f"held{process}.json").read_text())
        trained = counts["trained"]
        assert trained == sum(parameter.numel() for parameter in sharded_line.Net().parameters())
        for what, of in (("parameters", 1), ("gradients", 1), ("moments", 2), ("averages", 1)):
            assert 0.4 < counts[what] / (of * trained) < 0.6, (what, counts)  # what cannot be halved is padded


# going on


def test_a_sharded_run_is_gone_on_with_by_one_process(whole, sharded, tmp_path):
    folder = shutil.copytree(sharded, tmp_path / "run")
    sharded_line.train(folder, 40, report=silent)
    assert same_run(whole[40], folder, exports=(30, 40))


def test_a_run_of_one_process_is_gone_on_with_by_sharded_ones_after_gradients_that_are_not_finite(whole, tmp_path):
    folder = shutil.copytree(whole[20], tmp_path / "run")
    options = {"start": [*PLAIN, "--fsdp_reshard_after_forward", "false"]}  # and no block by itself
    code, said = line(folder, "--spoiled", 24, **options)
    assert code and "gradients of step 25 are not finite" in said
    assert "stopped at step 24; run again to go on; the checkpoint before is state.before.pt" in said
    assert torch.load(folder / "state.pt", weights_only=True)["step"] == 24
    code, said = line(folder, **options)
    assert code == 0, said
    assert "resumed at step 24 of 30" in said
    assert same_run(whole[30], folder, exports=(10, 20, 30))


def test_an_error_of_one_process_ends_all_and_says_where_they_go_on(whole, tmp_path):
    folder = shutil.copytree(whole[20], tmp_path / "run")
    before = (folder / "state.pt").read_bytes()
    code, said = line(folder, "--broken", 24)
    assert code and "triplet 7 cannot be read" in said
    assert (folder / "state.pt").read_bytes() == before


def relative(one, other):
    """The difference of two tables of tensors, in parts of their length.

    Of all of them: a bias before a norm has no gradient but rounding, which Adam makes steps of.
    """
    assert one.keys() == other.keys()
    one, other = (torch.cat([table[name].float().flatten() for name in one]) for table in (one, other))
    return ((one - other).norm() / one.norm()).item()


def test_a_sharded_unet_trains_as_one_process_does_and_a_killed_run_ends_as_an_undisturbed_one(tmp_path):
    bench_exactness.train(tmp_path / "one", STEPS, channels=CHANNELS)
    options = dict(processes=2, channels=CHANNELS, steps=STEPS, sharded=True)
    bench_exactness.Run(tmp_path / "whole", **options).finish(500)
    assert bench_exactness.largest_difference(tmp_path / "one", tmp_path / "whole") <= 1e-5
    states = [torch.load(tmp_path / run / "state.pt", weights_only=True)["trained"] for run in ("one", "whole")]
    assert relative(*states) <= 2e-4
    step = random.randint(1, STEPS // 2)
    print("killed at step", step)
    bench_exactness.Run(tmp_path / "killed", save_every=0, **options).kill(step)
    state = tmp_path / "killed" / "state.pt"
    saved = torch.load(state, weights_only=True)["step"] if state.exists() else 0  # killed in the first step
    assert step - 1 <= saved < STEPS
    bench_exactness.Run(tmp_path / "killed", save_every=0, **options).finish(500)
    resumed = f"resumed at step {saved} of {STEPS}" in (tmp_path / "killed" / "output.txt").read_text()
    assert resumed == bool(saved)
    assert bench_exactness.losses(tmp_path / "killed") == bench_exactness.losses(tmp_path / "whole")
    assert bench_exactness.same_state(tmp_path / "whole", tmp_path / "killed")


# the command


def test_the_command_trains_sharded_as_accelerates_configuration_says(tmp_path):
    assert main(["toy-triplets", str(tmp_path / "toys"), "--count", "8", "--validation", "4", "--views", "1"]) == 0
    small = ["run.steps=4", "run.warmup=1", "run.log_every=1", "run.validate_every=2", "run.precision=fp32", "batch=4"]
    places = [f"data.{name}={(tmp_path / 'toys' / name).as_posix()}" for name in ("train", "validation")]
    places += [f"data.cache={(tmp_path / 'cache').as_posix()}"]
    words = ["train", "playroom", "--set", *small, *places, f"models.base={(ROOT / 'playroom_models').as_posix()}"]
    assert main([*words, f"folder={(tmp_path / 'one').as_posix()}"]) == 0
    fsdp = {"fsdp_version": 2, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "fsdp_reshard_after_forward": True}
    config = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "FSDP", "fsdp_config": fsdp}
    config |= {"num_processes": 2, "num_machines": 1, "mixed_precision": "no", "main_process_port": 0}
    (tmp_path / "accelerate.yaml").write_text(yaml.safe_dump(config))
    start = ["-m", "accelerate.commands.launch", "--config_file", tmp_path / "accelerate.yaml"]
    program = ROOT / "pipelines" / "__main__.py"
    code, said = launch(program, *words, f"folder={(tmp_path / 'two').as_posix()}", start=start)
    assert code == 0, said
    logs = [bench_exactness.losses(tmp_path / run) for run in ("one", "two")]
    assert [list(row) for row in logs[0]] == [list(row) for row in logs[1]] and len(logs[0]) == 6
    for name, rel in (("loss", 1e-5), ("validation_error", 1e-2)):  # which is measured in bfloat16
        one, two = ([row[name] for row in log if name in row] for log in logs)
        assert two == pytest.approx(one, rel=rel)
    for name in ("embedding_optimizer.safetensors", "unet_attn2.safetensors", "best/unet_attn2.safetensors"):
        assert relative(*(load_file(tmp_path / run / name) for run in ("one", "two"))) <= 1e-3, name


# what it is set to


@pytest.mark.parametrize(
    ("variables", "plan"),
    [
        ({}, None),
        ({"ACCELERATE_USE_FSDP": "false", "FSDP_VERSION": "1"}, None),
        (ON, ShardingPlan(())),
        (ON | {"FSDP_RESHARD_AFTER_FORWARD": "false"}, ShardingPlan((), False)),
        (ON | {"FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}, ShardingPlan(None)),
        (
            ON | {"FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP", "FSDP_TRANSFORMER_CLS_TO_WRAP": "A, B"},
            ShardingPlan(("A", "B")),
        ),
    ],
)
def test_the_variables_of_accelerate_are_the_plan(variables, plan):
    assert sharding_plan(variables) == plan


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "accelerate is set to DeepSpeed, .* take FSDP: .*--fsdp_version 2"),
        ({"ACCELERATE_USE_FSDP": "true"}, "set to version 1 of FSDP; here is version 2 alone: .*--fsdp_version 2"),
        (ON | {"FSDP_VERSION": "1"}, "version 1 of FSDP"),
        (ON | {"FSDP_OFFLOAD_PARAMS": "true"}, "fsdp_offload_params: .*Set it to false"),
        (ON | {"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "fsdp_activation_checkpointing: .*checkpointing=true does it"),
        (ON | {"FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP"}, "policy SIZE_BASED_WRAP; here are TRANSFORMER_BASED_WRAP"),
    ],
)
def test_what_is_not_done_is_refused_by_name(variables, message, monkeypatch, tmp_path):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        sharded_line.train(tmp_path, 5, report=silent)
    assert not (tmp_path / "state.pt").exists()


def test_one_process_has_nothing_to_divide(whole, monkeypatch, tmp_path):
    for name, value in ON.items():
        monkeypatch.setenv(name, value)
    sharded_line.train(tmp_path, 20, report=silent)
    assert bench_exactness.same_state(whole[20], tmp_path)


def test_settings_that_do_not_go_with_sharding_are_refused_and_an_error_writes_no_checkpoint(tmp_path):
    code, said = line(tmp_path, "--do", "fail", "refuse")
    assert code == 0, said
    assert "stopped at step 3; run again to go on from the beginning" in said
    assert said.count("failed: triplet 7 cannot be read") == 2
    assert not (tmp_path / "failed" / "state.pt").exists()  # which both would have to be at the same step for
    for message in (
        "run.optimizer = adamw8bit is not supported where FSDP divides the networks. Set run.optimizer=adamw, or",
        "run.precision = fp16 is not supported where FSDP divides the networks. Set run.precision=bf16, or",
        "A batch of 16 samples cannot be cut into 6 equal parts",
        "accelerate's fsdp_transformer_layer_cls_to_wrap names Wall, which no network here has",
    ):
        assert said.count(f"refused: {message}") == 2, said  # by both processes
    assert not (tmp_path / "refused" / "state.pt").exists()
