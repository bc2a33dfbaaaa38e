"""`visual-insertion train` on a small folder of toy triplets and the models that ship."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.commands import train
from visual_insertion_pack.pipelines.playroom.world.dataset import HELD_OUT_SEED
from visual_insertion_pack.pipelines.playroom.world.folders import write_folder
from visual_insertion_pack.pipelines.training.base_models import train_part
from visual_insertion_pack.pipelines.triplets.folder import read_folder
from visual_insertion_pack.pipelines.visual_insertion import optimizer_files as embedding_optimizer
from visual_insertion_pack.pipelines.visual_insertion.trained_files import chosen_patch, files_of_run
from visual_insertion_pack.pipelines.visual_insertion.training import augmentation, preparation
from visual_insertion_pack.pipelines.visual_insertion.training.recipe import Recipe
from visual_insertion_pack.pipelines.weights.reading import metadata_of

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    *("run.steps=4", "run.log_every=2", "run.warmup=1", "run.precision=fp32", "batch=4"),
    *("run.validate_every=0", "data.validation=null"),
]


@pytest.fixture(scope="module")
def triplets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("triplets")
    write_folder(folder / "train", range(10), views=2)
    write_folder(folder / "validation", range(HELD_OUT_SEED, HELD_OUT_SEED + 3), views=1)
    return folder


@pytest.fixture
def copy(triplets, tmp_path):
    return shutil.copytree(triplets / "train", tmp_path / "copy")


@pytest.fixture
def run(triplets, tmp_path, capsys):
    """run(*changes): (exit code, stdout, stderr) of the command on the recipe `playroom`, made small."""

    def call(*changes, options=(), recipe="playroom"):
        data = [f"data.train={(triplets / 'train').as_posix()}"]
        base = (ROOT / "playroom_models").as_posix()
        cache = (tmp_path / "cache").as_posix()
        places = [f"folder={(tmp_path / 'run').as_posix()}", f"models.base={base}", f"data.cache={cache}"]
        code = main(["train", recipe, *options, "--set", *SMALL, *data, *places, *changes])
        return code, *capsys.readouterr()

    return call


def test_it_trains_and_what_comes_out_loads_in_the_pipeline(run, triplets, tmp_path):
    code, out, err = run(f"data.validation={(triplets / 'validation').as_posix()}", "run.validate_every=2")
    assert code == 0, err
    folder = tmp_path / "run"
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 2, 4, 4]
    assert all(row["validation_error"] > 0 and "validation_object_gain" in row for row in rows[1::2])
    assert Image.open(folder / "sheet.png").size == (4 * 128, 3 * 128)
    optimizer = embedding_optimizer.load(folder / "embedding_optimizer.safetensors")
    assert optimizer.settings.variant == "resampler" and optimizer.settings.context_tokens == 77
    with safe_open(folder / "unet_attn2.safetensors", "pt") as patch:
        assert patch.metadata()["tensors"] == "35"
        assert any(patch.get_tensor(name).any() for name in patch.keys())
    assert "for Load LoRA" in out


def test_the_run_and_what_comes_out_of_it_say_what_made_them(run, triplets, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["somewhere/visual-insertion", "train", "playroom"])
    assert run("run.steps=2")[0] == 0
    folder = tmp_path / "run"
    record = json.loads((folder / "run.json").read_text("utf-8"))
    assert record["command"] == "visual-insertion train playroom" and record["seed"] == 0
    assert record["software"]["torch"] == torch.__version__ or record["software"]["torch"] in torch.__version__
    assert record["configuration"]["run"]["learning_rate"] == 1e-3 and record["configuration"]["batch"] == 4
    base = (ROOT / "playroom_models").resolve()
    assert record["configuration"]["models"]["base"] == str(base)
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert record["sha256"]["models.base"][weights] == hashlib.sha256((base / weights).read_bytes()).hexdigest()
    assert (
        record["data"]["data.train"] == f"{triplets.name}/train" and "metadata.jsonl" in record["sha256"]["data.train"]
    )
    patch = hashlib.sha256((folder / "unet_attn2.safetensors").read_bytes()).hexdigest()
    for name in ("embedding_optimizer.safetensors", "unet_attn2.safetensors"):
        facts = metadata_of(folder / name)
        assert facts["training_data"] == f"{triplets.name}/train" and facts["seed"] == "0"
        assert json.loads(facts["sha256"]) == record["sha256"] and json.loads(facts["software"]) == record["software"]
        assert json.loads(facts["configuration"])["models"]["base"] == "playroom_models"  # no folder of this machine
        assert facts.get("unet_patch_sha256", patch) == patch
    assert metadata_of(folder / "embedding_optimizer.safetensors")["unet_patch"] == "unet_attn2.safetensors"
    monkeypatch.setattr("sys.argv", ["visual-insertion", "train", "playroom", "--set", "run.steps=3"])
    assert run("run.steps=3")[0] == 0
    again = json.loads((folder / "run.json").read_text("utf-8"))
    assert again["configuration"]["run"]["steps"] == 3
    assert [sitting["command"] for sitting in again["earlier"]] == ["visual-insertion train playroom"]


def test_a_further_stage_starts_from_a_patch_and_holds_it(run, tmp_path):
    assert run("run.steps=2")[0] == 0
    first = tmp_path / "run"
    start = f"optimizer.start={(first / 'embedding_optimizer.safetensors').as_posix()}"
    second = f"folder={(tmp_path / 'second').as_posix()}"
    code, _, err = run(start, second)
    assert code == 1 and "was trained together with the UNet patch unet_attn2.safetensors" in err
    patch = f"unet.start={(first / 'unet_attn2.safetensors').as_posix()}"
    code, _, err = run(start, patch, second, "unet.train=kv", "run.steps=1", "run.learning_rate=1e-9")
    assert code == 0, err
    before = load_file(first / "unet_attn2.safetensors")
    after = load_file(tmp_path / "second" / "unet_attn2.safetensors")
    assert before.keys() == after.keys() and len(before) == 35  # not only the keys and values of this stage
    assert all(torch.allclose(before[name].float(), after[name].float(), atol=2e-6) for name in before)
    assert any(tensor.any() for tensor in before.values())
    changed = run(start, patch.replace("unet_attn2", "gone"), second, "unet.train=kv")
    assert changed[0] == 2 and "gone.safetensors does not exist" in changed[2]


def test_the_recipe_without_a_download_works_in_any_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "playroom", "--dry-run", "--set", *SMALL]) == 0, capsys.readouterr().err
    assert "unet: trains" in capsys.readouterr().out
    assert train.read(Path("paint_by_example_playroom"))[1].models.base == ROOT / "playroom_models"
    (tmp_path / "playroom_models").mkdir()  # one of the user's own comes first
    assert train.read(Path("playroom"))[1].models.base == Path("playroom_models")


def test_what_is_exported_in_mid_run_is_as_good_as_a_run(run, triplets, tmp_path):
    validation = f"data.validation={(triplets / 'validation').as_posix()}"
    code, out, err = run(validation, "run.validate_every=2", "run.export_every=1", "run.keep_last=2")
    assert code == 0, err
    folder = tmp_path / "run"
    assert sorted(entry.name for entry in (folder / "exports").iterdir()) == ["step_0000003", "step_0000004"]
    for export in (folder / "best", folder / "exports" / "step_0000003"):
        files = files_of_run(export)
        assert files.models == ROOT / "playroom_models" and files.unet_patch == export / "unet_attn2.safetensors"
        assert chosen_patch(files.embedding_optimizer, files.unet_patch, pytest.fail) == files.unet_patch
    assert metadata_of(folder / "exports" / "step_0000003" / "embedding_optimizer.safetensors")["steps"] == "3"
    last = load_file(folder / "exports" / "step_0000004" / "unet_attn2.safetensors")
    end = load_file(folder / "unet_attn2.safetensors")
    assert all(torch.equal(last[name], end[name]) for name in end)


def test_the_printed_configuration_is_whole_and_makes_the_same_run(run, tmp_path):
    code, out, err = run("run.steps=3", options=("--print-config",))
    assert code == 0, err
    assert not (tmp_path / "run").exists()
    (tmp_path / "printed.yaml").write_text(out, encoding="utf-8")
    assert train.read(tmp_path / "printed.yaml") == train.read(tmp_path / "printed.yaml", ["run.steps=3"])
    assert "gradient_norm: 1.0" in out and out.startswith("method: visual_insertion\n")
    code, _, err = run(recipe=str(tmp_path / "printed.yaml"))
    assert code == 0, err


def test_a_finished_run_is_not_trained_again_and_one_of_other_parts_is_refused(run, tmp_path):
    assert run()[0] == 0
    before = load_file(tmp_path / "run" / "embedding_optimizer.safetensors")
    assert run()[0] == 0
    after = load_file(tmp_path / "run" / "embedding_optimizer.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    code, _, err = run("unet.train=kv")
    assert code == 1 and "unet.train was attn2, is kv" in err


def test_encodings_are_made_once_and_again_when_something_changed(run, tmp_path):
    assert run()[0] == 0
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    assert len(made) == 1
    assert run("run.steps=5")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made
    (tmp_path / "run" / "state.pt").unlink()
    assert run("run.steps=6", "data.pictures.variants=3")[0] == 0
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 2


def test_changed_pictures_under_the_same_names_are_encoded_anew(run, copy, tmp_path):
    change = f"data.train={copy.as_posix()}"
    assert run(change)[0] == 0
    before = load_file(tmp_path / "run" / "embedding_optimizer.safetensors")
    for path in copy.glob("*_object*.png"):
        Image.new("RGB", Image.open(path).size, "red").save(path)
    code, _, err = run(change)
    assert code == 1 and "the pictures of data.train was" in err  # going on would mix the two
    (tmp_path / "run" / "state.pt").unlink()
    assert run(change)[0] == 0
    after = load_file(tmp_path / "run" / "embedding_optimizer.safetensors")
    assert not all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("left", [0, 100, 0.9])
def test_a_cut_cache_file_is_made_anew(run, tmp_path, left):
    assert run()[0] == 0
    (cache,) = (tmp_path / "cache").rglob("*.safetensors")
    whole = cache.read_bytes()
    cache.write_bytes(whole[: int(left * len(whole)) if isinstance(left, float) else left])
    assert run("run.steps=5")[0] == 0
    assert cache.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimizer.heads=8", "optimizer.heads was 4, is 8"),
        ("optimizer.no_object=released", "optimizer.no_object was zeros, is released"),
        ("run.seed=1", "run.seed was 0, is 1"),
        ("batch=2", "batch was 4, is 2"),
        ("dropout.object=0.2", "dropout.object was 0.05, is 0.2"),
        ("data.pictures.background=white", "data.pictures.background was keep, is white"),
        ("run.steps=2", "trained for 4 steps already, more than run.steps = 2"),
    ],
)
def test_going_on_with_another_configuration_is_refused_by_the_entrys_name(run, change, message):
    assert run()[0] == 0
    code, _, err = run(change)
    assert code == 1 and message in err


def test_going_on_from_another_base_model_is_refused_and_nothing_is_written(run, tmp_path):
    assert run()[0] == 0
    ignored = shutil.ignore_patterns("samples", "paint_by_example", "judge*")
    other = shutil.copytree(ROOT / "playroom_models", tmp_path / "other", ignore=ignored)
    file = other / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    save_file({name: tensor * 1.01 for name, tensor in state.items()}, file, {"format": "pt"})
    patch = (tmp_path / "run" / "unet_attn2.safetensors").read_bytes()
    code, _, err = run(f"models.base={other.as_posix()}", "run.steps=6")
    assert code == 1 and "the weights of models.base, unet was" in err
    assert (tmp_path / "run" / "unet_attn2.safetensors").read_bytes() == patch


def test_what_may_change_in_going_on_is_said(run):
    assert run()[0] == 0
    code, out, err = run("run.steps=6", "run.learning_rate=1e-5", "licence=mine")
    assert code == 0 and "from here on run.learning_rate 1e-05 (was 0.001), run.steps 6 (was 4)" in out + err


def test_a_folder_with_a_model_of_another_origin_is_left_alone(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "embedding_optimizer.safetensors").write_bytes(b"mine")
    code, _, err = run()
    assert (
        code == 1
        and "holds embedding_optimizer.safetensors, which would be written over and is not of an earlier training run"
        in err
    )
    assert [path.read_bytes() for path in (tmp_path / "run").iterdir()] == [b"mine"]


def test_augmented_pictures_go_through_the_encoder_and_are_the_same_for_any_cut(run, tmp_path):
    changes = ("data.augment=true", "optimizer.variant=pooled_mlp4")
    losses = []
    for accumulate in (1, 2):
        assert run(*changes, f"run.accumulate={accumulate}", "run.log_every=1")[0] == 0
        losses.append([json.loads(line)["loss"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()])
        trained = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["trained"]
        assert not any(name.startswith(("encoders", "unet.conv_in")) for name in trained)
        shutil.rmtree(tmp_path / "run")
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and len(losses[0]) == 4


@pytest.mark.parametrize("variant", ["two_linear", "pooled_mlp2", "pooled_mlp4", "resampler"])
def test_every_variant_trains_as_released_or_as_ours(run, variant):
    changes = [f"optimizer.variant={variant}", "optimizer.no_object=released", "unet.train=none", "run.steps=2"]
    if variant != "two_linear":
        changes.append("optimizer.random_queries=true")
    code, _, err = run(*changes)
    assert code == 0, err


@pytest.mark.parametrize("augment", ["true", "false"])
def test_a_second_encoder_is_read_beside_the_first(run, tmp_path, augment):
    from transformers import Dinov2Config, Dinov2Model

    shape = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=2)
    Dinov2Model(Dinov2Config(**shape)).save_pretrained(tmp_path / "dino")
    statistics = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (tmp_path / "dino" / "preprocessor_config.json").write_text(json.dumps(statistics))
    code, _, err = run(f"models.detail_encoder={(tmp_path / 'dino').as_posix()}", f"data.augment={augment}")
    assert code == 0, err
    load = embedding_optimizer.load
    optimizer = load(tmp_path / "run" / "embedding_optimizer.safetensors")
    assert optimizer.settings.detail_width == 32
    seen = torch.randn(1, 65, 128)
    one, other = (optimizer(seen, torch.full((1, 5, 32), x).cumsum(-1).sin()) for x in (1.0, 2.0))
    assert not torch.allclose(one, other)


def test_16_bit_files_are_found_by_their_public_name(run, tmp_path):
    base = shutil.copytree(ROOT / "playroom_models", tmp_path / "base")
    stored = base / "unet" / "diffusion_pytorch_model.safetensors"
    stored.rename(stored.with_suffix(".fp16.safetensors"))
    code, _, err = run(f"models.base={base.as_posix()}", "run.steps=1")
    assert code == 0, err
    stored.with_suffix(".fp16.safetensors").unlink()
    code, _, err = run(f"models.base={base.as_posix()}", f"folder={(tmp_path / 'again').as_posix()}")
    assert code == 2 and f"{base / 'unet'} holds no weights: none of " in err


def test_a_dry_run_reports_and_writes_nothing(run, tmp_path):
    code, out, err = run("unet.train=kv", "data.train=nowhere", options=("--dry-run",))
    assert code == 0, err
    assert "unet: trains" in out and "parameters in 14 tensors" in out and "time: " in out
    assert "data: not there, so the time to encode them is not in the sum" in out
    assert not (tmp_path / "run").exists()


def test_a_dry_run_counts_the_preparation_that_is_left(run, tmp_path):
    code, out, err = run(options=("--dry-run",))
    assert code == 0, err
    assert "data: 10 examples, 10 of them to be encoded, " in out and "hours" not in out
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()
    assert run("run.steps=1")[0] == 0
    assert "data: 10 examples, encoded" in run(options=("--dry-run",))[1]


def test_runs_share_encodings_in_one_place_that_is_listed_and_cleaned(run, triplets, tmp_path, monkeypatch, capsys):
    place = tmp_path / "shared"
    monkeypatch.setenv("VISUAL_INSERTION_CACHE", str(place))
    shared = "data.cache=null"
    code, out, err = run(shared, "run.steps=1")
    assert code == 0 and f"10 triplets encoded, 0.3 MB in {place}" in out + err
    made = {path: path.stat().st_mtime_ns for path in place.rglob("*.safetensors")}
    assert len(made) == 1 and not (tmp_path / "run" / "cache").exists()
    assert run(shared, "run.steps=1", "run.seed=1", f"folder={(tmp_path / 'second').as_posix()}")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*.safetensors")} == made
    (place / "mine").mkdir()
    (place / "mine" / "file").write_text("not ours")
    assert main(["cache"]) == 0
    listed = capsys.readouterr().out
    assert f"10 of {triplets.name}/train, used 0 days ago" in listed and f"0.3 MB  in {place}" in listed
    assert main(["cache", "--clean", "--older-than", "1"]) == 0 and all(path.is_file() for path in made)
    assert main(["cache", str(place), "--clean"]) == 0
    assert [path.name for path in place.iterdir()] == ["mine"]
    assert main(["cache", "--older-than", "-1"]) == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_encodings_do_not_depend_on_workers_or_on_how_the_files_are_shared(triplets, tmp_path, monkeypatch, workers):
    monkeypatch.setattr(preparation, "SHARD", 4)
    monkeypatch.setattr(preparation, "BATCH", 2)
    config = train.read(Path("playroom"), [f"data.train={triplets / 'train'}", "data.validation=null"])[1]
    (one,) = Recipe(config).preparations()
    one.run(tmp_path / "one")
    (many,) = Recipe(replace(config, data=replace(config.data, workers=workers))).preparations()
    seen = []
    for share in (1, 0):
        many.run(tmp_path / "many", lambda done, rows: seen.append((done, rows)), share, 2)
    assert seen == [(4, 4), (4, 6), (6, 6)]
    names = [path.name for path in sorted((tmp_path / "one").rglob("*.safetensors"))]
    assert names == ["000000000-4.safetensors", "000000004-4.safetensors", "000000008-2.safetensors"]
    for name in names:
        files = [next((tmp_path / folder).rglob(name)) for folder in ("one", "many")]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ("unet.train=everything", 1, "'unet.train' must be one of 'none', 'kv' or 'attn2', not 'everything'"),
        ("unet.tensors=80", 1, "matches 35 tensors of this UNet, not the 80 expected"),
        ("unet.parameters=43962560", 1, "not the 43,962,560 expected"),
        ("optimizer.varant=resampler", 1, "unknown entry 'optimizer.varant'; known there: variant"),
        ("method=paint_by_exampel", 1, "no method 'paint_by_exampel'; known: visual_insertion, paint_by_example"),
        ("method=paint_by_example", 1, "unknown entry 'optimizer'; known there: folder"),
        ("optimizer.variant=perceiver", 1, "'optimizer.variant' must be one of resampler, two_linear"),
        ("optimizer.no_object=empty prompt", 2, "the null 'empty prompt' is made with it"),
        ("run.steps=many", 1, "'run.steps' must be of type int"),
        ("run.accumulate=3", 1, "cannot be cut into 3 equal parts"),
        ("models.base=nowhere", 2, "must be a diffusers InstructPix2Pix folder"),
        ("models.image_encoder=nowhere", 2, "Needed is a vision encoder"),
        ("data.train=nowhere", 2, "metadata.jsonl does not exist"),
        ("data.pictures.background=mean", 1, "neither a mask nor an alpha channel says where the object is"),
        ("optimizer.start=nowhere.safetensors", 2, "nowhere.safetensors does not exist"),
        ("nonsense", 1, "'nonsense' is not of the form name=value"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(run, change, code, message):
    found, _, err = run(change)
    assert (found, message in err) == (code, True), err


def test_an_unknown_recipe_names_the_shipped_ones(run):
    code, _, err = run(recipe="resampler_stage3")
    assert code == 2 and "resampler_stage2" in err and "slides_stage1" in err and "paint_by_example" in err


@pytest.mark.parametrize(
    "recipe", ["slides_stage1", "slides_stage2", "resampler_stage1", "resampler_stage2", "playroom"]
)
def test_the_shipped_recipes_are_read_and_train_what_they_say(recipe):
    method, config = train.read(Path(recipe))
    assert method == "visual_insertion"
    assert config.run.steps > 0 and config.batch % config.run.accumulate == 0
    if recipe.endswith("stage2"):
        assert (config.unet.train, config.unet.tensors, config.unet.parameters) == ("attn2", 80, 43_962_560)
    elif recipe.endswith("stage1"):
        assert config.unet.train == "none"


@pytest.mark.parametrize(("parts", "tensors", "parameters"), [("attn2", 80, 43_962_560), ("kv", 32, 19_169_280)])
def test_the_filter_matches_what_was_published_of_sd15(parts, tensors, parameters):
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(in_channels=8, cross_attention_dim=768)
    train_part(unet, parts, tensors, parameters)
    assert sum(p.requires_grad for p in unet.parameters()) == tensors
    assert all(".attn2." in name for name, p in unet.named_parameters() if p.requires_grad)


class TestTripletFolders:
    def read(self, folder):
        return read_folder(folder)

    def test_a_missing_picture_and_a_broken_line_are_named(self, copy):
        (copy / "000000003_scene.png").unlink()
        with pytest.raises(FileNotFoundError, match=r"1 pictures .*000000003_scene\.png \(line 4\)"):
            self.read(copy)
        index = copy / "metadata.jsonl"
        index.write_text(index.read_text().replace("target_file_name", "target", 1))
        with pytest.raises(ValueError, match="line 1 is not a triplet: 'target_file_name' is missing"):
            self.read(copy)
        index.write_text("")
        with pytest.raises(ValueError, match="holds no triplet"):
            self.read(copy)

    def test_a_broken_picture_stops_the_run_by_name_and_leaves_no_half_file(self, run, copy, tmp_path):
        (copy / "000000003_target.png").write_bytes(b"not a picture")
        code, _, err = run(f"data.train={copy.as_posix()}")
        assert code == 1 and "000000003_target.png is not a readable picture" in err
        assert not list((tmp_path / "cache").rglob("*.part"))

    def test_scene_and_target_of_two_sizes_are_refused(self, run, copy):
        Image.new("RGB", (64, 64)).save(copy / "000000003_target.png")
        code, _, err = run(f"data.train={copy.as_posix()}")
        assert code == 1 and "triplet 000000003 differ in size (128x128 and 64x64 px)" in err


class TestAugmentation:
    def test_a_pair_is_cut_alike_and_the_object_is_a_function_of_the_seed(self):
        picture = torch.rand(3, 40, 50)
        for variant in range(6):
            pair = augmentation.vary_pair(torch.stack([picture, picture]), 32, variant, seed=7)
            assert pair.shape == (2, 3, 32, 32) and torch.equal(*pair)
        plain, flipped = (augmentation.vary_pair(picture[None], 40, variant, 0) for variant in (0, 1))
        assert torch.allclose(plain.flip(-1), flipped, atol=1e-6)
        assert torch.allclose(plain[0], picture[:, :, 5:45], atol=1e-6)
        fill, settings = torch.zeros(3), augmentation.Augmentation()
        seen = [augmentation.augment_object(picture, fill, settings, seed) for seed in (1, 1, 2)]
        assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])
        still = augmentation.Augmentation(flip=0, rotation=0, scale=0, shift=0, colour=0)
        assert torch.allclose(augmentation.augment_object(picture, fill, still, 3), picture, atol=1e-5)
