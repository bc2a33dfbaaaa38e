"""The one reader of weight files: what is understood of them, and what is refused by name."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from visual_insertion_pack.pipelines.paint_by_example import exemplar_encoder
from visual_insertion_pack.pipelines.visual_insertion import embedding_optimizer, optimizer_files
from visual_insertion_pack.pipelines.weights import module_files, reading
from visual_insertion_pack.pipelines.weights.tensors import open_tensors

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = embedding_optimizer.OptimizerSettings("resampler", 24, 32, 5, blocks=1, heads=2)
STATE = {"norm.weight": torch.ones(3), "conv_in.weight": torch.zeros(2, 3)}

UNMAPPABLE = Path("/proc/self/mounts")  # Linux's, made up as it is read


@pytest.fixture
def save(tmp_path):
    """save(tensors or anything to pickle, suffix): the path of the file."""

    def write(content, suffix=".safetensors", metadata=None):
        path = tmp_path / f"weights{suffix}"
        save_file(content, path, metadata) if suffix == ".safetensors" else torch.save(content, path)
        return path

    return write


def read_both_ways(path):
    """What `read_weights` reads at once, compared with what `open_tensors` reads by name."""
    state, _ = reading.read_weights(path)
    file = open_tensors(path)
    assert file.shapes == reading.shapes_of(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in file.read(file.stored).items())
    return state


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "unet.",
        "base_model.model.",
        "unet.module.",
    ],
)
def test_what_a_wrapper_put_before_every_name_is_left_out(save, prefix, suffix):
    assert (
        read_both_ways(save({prefix + name: tensor for name, tensor in STATE.items()}, suffix)).keys() == STATE.keys()
    )


def test_what_torch_compile_put_into_names_is_left_out(save):
    assert "blocks.0.norm.weight" in read_both_ways(
        save({"blocks.0._orig_mod.norm.weight": torch.ones(1), "a": torch.ones(1)})
    )


def test_a_beginning_that_not_every_name_has_stays(save):
    both = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert read_both_ways(save(both)).keys() == both.keys()


def test_names_that_would_be_the_same_stay(save):
    both = {"_orig_mod.a": torch.ones(1), "a": torch.zeros(1)}
    assert read_both_ways(save(both)).keys() == both.keys()


@pytest.mark.parametrize("beside", [{}, {"global_step": 22_000, "epoch": 3, "lr_schedulers": [{"last": 0.1}]}])
def test_the_tensors_of_a_lightning_checkpoint_are_those_of_its_state_dict(save, beside):
    state = read_both_ways(save({"state_dict": STATE} | beside, ".ckpt"))
    assert state.keys() == STATE.keys()


@pytest.mark.parametrize(
    "content", [[1, 2], {"a": 1}, {"state_dict": [1]}, {"state_dict": {"a": 1}}, {3: torch.ones(1)}, {}]
)
def test_a_pickle_of_anything_else_is_refused(save, content):
    path = save(content, ".pt")
    for read in (reading.read_weights, open_tensors):
        with pytest.raises(ValueError, match=f"{re.escape(str(path))} does not hold a plain table of tensors"):
            read(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no file"):
        reading.read_weights(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        reading.read_weights(tmp_path / "gone")


@pytest.mark.skipif(not UNMAPPABLE.is_file(), reason="no file here that cannot be mapped into memory")
def test_a_file_that_cannot_be_mapped_is_named():
    with pytest.raises(OSError, match=rf"{UNMAPPABLE} cannot be mapped into memory: .+ copy it to a disk"):
        reading.read_weights(UNMAPPABLE)


# numbers


STRANGE = [torch.int8, torch.uint8, torch.bool, torch.int32, torch.int64, torch.complex64, torch.float8_e4m3fn]


def load_optimizer(save, change, suffix=".safetensors"):
    state = embedding_optimizer.build(SETTINGS).state_dict()
    change(state)
    return optimizer_files.load(save(state, suffix, optimizer_files.metadata(SETTINGS)))


def load_exemplar(save, change):
    settings = exemplar_encoder.ExemplarSettings(32, 16, blocks=1)
    state = exemplar_encoder.ExemplarEncoder(settings).state_dict()
    change(state)
    return exemplar_encoder.load(save(state, metadata=module_files.metadata(exemplar_encoder.FORMAT, settings)))


@pytest.mark.parametrize("load", [load_optimizer, load_exemplar])
@pytest.mark.parametrize("dtype", STRANGE, ids=str)
def test_weights_that_are_no_floating_point_numbers_are_refused(save, load, dtype):
    with pytest.raises(ValueError, match="that are not 16 or 32 bit floating point numbers .such as null"):
        load(save, lambda state: state.update(null=torch.ones_like(state["null"]).to(dtype)))


@pytest.mark.parametrize("dtype", reading.DTYPES.values(), ids=str)
def test_floating_point_weights_load(save, dtype):
    assert load_optimizer(save, lambda state: state.update(null=torch.ones_like(state["null"], dtype=dtype))).null.all()


def claims(shape=(200_000, 200_000), strides=(0, 0), dtype=torch.float32):
    return torch.as_strided(torch.ones(64, dtype=dtype), shape, strides)


@pytest.mark.parametrize(
    "tensor",
    [claims(), claims(strides=(0, 1), shape=(10**9, 64)), claims((60, 60), (1, 0)), torch.ones(9, 9).to_sparse(),
     torch.empty(10**6, 10**6, device="meta")],
    ids=["one number", "a row", "overlapping", "sparse", "meta"],
)  # fmt: skip
def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(save, tensor):
    path = save({"a": tensor}, ".pt")
    with pytest.raises(
        ValueError, match=f"{re.escape(str(path))} (holds fewer numbers than a claims|is a pickle that)"
    ):
        state, _ = reading.read_weights(path)
        reading.check_numbers(state, path)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        open_tensors(path).read(["a"])


def test_a_quantised_tensor_is_refused(save):
    path = save({"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, ".pt")
    with pytest.raises(ValueError, match=re.escape(str(path))):
        state, _ = reading.read_weights(path)
        reading.check_numbers(state, path)


# metadata


@pytest.mark.parametrize("format", ["pt", None])
def test_settings_count_where_other_tools_wrote_over_the_format(save, format):
    optimizer = embedding_optimizer.build(SETTINGS)
    metadata = optimizer_files.metadata(SETTINGS)
    metadata = metadata | {"format": format} if format else {"settings": metadata["settings"]}
    assert optimizer_files.load(save(optimizer.state_dict(), metadata=metadata)).settings == SETTINGS


def test_another_kind_of_network_of_this_pack_is_refused(save):
    path = save({"a": torch.ones(1)}, metadata=module_files.metadata(exemplar_encoder.FORMAT, SETTINGS))
    with pytest.raises(ValueError, match="it carries no embedding optimizer settings"):
        optimizer_files.load(path)


ABSURD = [-1, 0, 1_000_000_000, 10**30, 7.5, "x", None, [], {}, True, float("nan"), float("inf"), [[[[1]]]]]


@pytest.mark.parametrize("value", ABSURD, ids=repr)
def test_settings_are_checked_before_a_network_is_built(save, value):
    optimizer = embedding_optimizer.build(SETTINGS)
    for name in asdict(SETTINGS):
        settings = json.dumps(asdict(SETTINGS) | {name: value})
        path = save(optimizer.state_dict(), metadata={"format": optimizer_files.FORMAT, "settings": settings})
        if (name, value) == ("detail_width", 0) or (name == "encoder_tokens" and isinstance(value, int) and value > 1):
            continue  # its own value; what a resampler does not read
        with pytest.raises(ValueError, match=re.escape(str(path))):
            optimizer_files.load(path)


# pickles


def test_a_pickle_is_opened_at_one_place_only():
    places = {
        path.relative_to(ROOT).as_posix(): len(hits)
        for folder in ("pipelines", "nodes", "devtools")
        for path in (ROOT / folder).rglob("*.py")
        if (hits := re.findall(r"\btorch\.load\(|allow_pickle=True", path.read_text("utf-8")))
    }
    assert places == {"pipelines/weights/reading.py": 1}


@pytest.mark.parametrize("version", ["1.13.1", "2.5.1+cu124", "2.9.1", "2.9.0a0+git1"])
def test_a_torch_that_may_run_a_pickle_is_not_given_one(save, monkeypatch, version):
    path = save(STATE, ".pt")
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(torch, "load", None)
    for read in (reading.read_weights, open_tensors):
        with pytest.raises(ValueError, match="cannot keep one from running a program; torch 2.10 can"):
            read(path)


@pytest.mark.parametrize("version", ["2.10.0+cu130", "2.11.0.dev20260901", "3.0.0"])
def test_a_newer_torch_reads_pickles(save, monkeypatch, version):
    monkeypatch.setattr(torch, "__version__", version)
    assert reading.read_weights(save(STATE, ".pt"))[0].keys() == STATE.keys()


def test_a_run_goes_on_with_every_torch_that_training_needs(save, monkeypatch):
    path = save({"trained": STATE, "step": 3}, ".pt")
    monkeypatch.setattr(torch, "__version__", "2.6.0")
    assert reading.unpickle(path, safe_since=reading.RUNS_CODE_BELOW)["step"] == 3
    monkeypatch.setattr(torch, "__version__", "2.5.1")
    with pytest.raises(ValueError, match="torch 2.6 can"):
        reading.unpickle(path, safe_since=reading.RUNS_CODE_BELOW)


def test_the_pack_asks_for_no_torch_that_runs_checkpoints():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    floors = set(re.findall(r'"torch>=([\d.]+)"', project))
    assert floors == {".".join(map(str, reading.RUNS_CODE_BELOW))}
