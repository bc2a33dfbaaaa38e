"""The ablation on the playroom: its words, what each arm trains, and how its table is made."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from visual_insertion_pack.benchmarks import bench_ablation
from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.playroom import models
from visual_insertion_pack.pipelines.playroom.visual_insertion import ablation
from visual_insertion_pack.pipelines.playroom.visual_insertion.word_encoder import WordEncoder
from visual_insertion_pack.pipelines.playroom.world import dataset, words

MODELS = Path(__file__).resolve().parents[2] / "playroom_models"


# words


def test_a_toy_is_named_by_pattern_hue_and_shape():
    assert words.caption(0, 1, np.array([0.9, 0.1, 0.05])) == "stripes red ball"
    assert words.colour_word(np.array([0.95, 0.1, 0.02])) == words.colour_word(np.array([0.95, 0.02, 0.1])) == "red"
    toys = {
        "shape": np.array([5, 7]),
        "pattern": np.array([0, 2]),
        "colour": np.array([[0.1, 0.2, 0.9], [0.1, 0.8, 0.1]]),
    }
    numbers = words.tokens(toys)
    assert numbers.shape == (2, 3, 1)
    said = [[words.VOCABULARY[int(n)] for n in row[:, 0]] for row in numbers]
    assert said == [["plain", "blue", "mug"], ["dots", "green", "tree"]]


def test_contexts_of_words_differ_but_for_the_start_and_the_filling():
    torch.manual_seed(0)
    encoder = WordEncoder()
    empty, one, other = encoder(
        torch.cat([words.EMPTY, torch.tensor([[[1.0], [4.0], [12.0]], [[1.0], [5.0], [12.0]]])])
    )
    assert empty.shape == (models.CONTEXT_TOKENS, models.CONTEXT_WIDTH)
    differ = [not torch.equal(a, b) for a, b in zip(one, other, strict=True)]
    assert differ == [place == 2 for place in range(len(one))]  # only the colour's word
    assert torch.equal(one[0], empty[0]) and torch.equal(one[4:], empty[4:])


# arms


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    shards = dataset.render(folder / "triplets", range(900_002_000, 900_002_010), views=2, workers=1)
    return ablation.Ablation(MODELS, folder, shards, lambda done, total: None)


@pytest.fixture(scope="module")
def base(study):
    return study.text_base(2, lambda line: None)


def changed(before, after):
    pairs = zip(before.state_dict().items(), after.state_dict().values(), strict=True)
    return {name for (name, a), b in pairs if not torch.equal(a, b)}


def test_the_base_learns_its_cross_attention_and_words_alone(study, base):
    unet, encoder = base
    moved = changed(study.shipped.unet(), unet)
    assert moved and all(".attn2." in name for name in moved)
    assert encoder.null.shape == (16, 128) and encoder.null.std() > 0.1


@pytest.mark.parametrize(
    ("name", "trains_unet", "null"),
    [
        ("words", False, "base"),
        ("frozen_swap", False, "base"),
        ("two_linear", False, "zeros"),
        ("pooled_mlp4_attn2", True, "zeros"),
        ("resampler", True, "base"),
        ("resampler_masked_crop", True, "base"),
    ],
)
def test_an_arm_trains_what_it_says(study, base, name, trains_unet, null):
    unet, optimizer = study.train(name, 0, base, 2, report=lambda line: None)
    moved = changed(base[0], unet)
    assert bool(moved) == trains_unet and all(".attn2." in one for one in moved)
    assert torch.equal(optimizer.null, base[1].null if null == "base" else torch.zeros(16, 128))
    truth = dataset.render_arrays(range(900_003_000, 900_003_002), views=1)
    pictures = study.insert(name, (unet, optimizer), truth, seed=0)
    assert pictures.shape == truth["scene"].shape and pictures.dtype == np.uint8


def test_the_share_of_noise_is_that_of_the_queries(study, base):
    truth = dataset.render_arrays(range(900_003_000, 900_003_004), views=1)
    shares = {
        name: study.noise_share(name, study.train(name, 0, base, 2, report=lambda line: None), truth)
        for name in ("words", "pooled_mlp4_learned_queries", "pooled_mlp4")
    }
    assert shares["words"] == shares["pooled_mlp4_learned_queries"] == 0 < shares["pooled_mlp4"] < 1


def test_an_arm_sees_its_share_and_its_kind_of_pictures(study):
    arms = ablation.ARMS
    assert [len(study.data(arms[name])) for name in ("pooled_mlp4", "resampler")] == [4, 10]
    kept, masked = (study.data(arms[name]).features for name in ("resampler_crop", "resampler_masked_crop"))
    assert kept.shape == masked.shape == (10, 1, 65, 128) and not torch.equal(kept, masked)


def test_a_masked_crop_is_grey_around_the_toy():
    toys = dataset.render_arrays(range(900_004_000, 900_004_003), views=1)
    kept, masked = (ablation.crops(toys, hidden) for hidden in (False, True))
    assert (masked == 0).float().mean() > 0.1 and (kept == 0).float().mean() < 0.01
    assert torch.equal(kept[:, :, 32, 32], masked[:, :, 32, 32])  # the toy itself


# the table


def test_a_best_scale_that_never_changes_has_no_spread():
    same = np.repeat(np.array([[0.2], [0.9], [0.3], [0.1]]), 6, axis=1)
    found = bench_ablation.spread({"scales": same, "seeds": same})
    assert found["best_scale_spread"] == 0 and found["per_case_scale_gain"] == pytest.approx(0)
    assert found["reseeding_gain"] == pytest.approx(0.7) and found["identity_at_2.5"] == pytest.approx(0.9)


def test_a_best_scale_of_each_case_has_a_spread_and_a_gain():
    scales = np.eye(4)  # each case another one
    found = bench_ablation.spread({"scales": scales, "seeds": np.ones((4, 4))})
    logs = np.log2(bench_ablation.SCALES)
    assert found["best_scale_spread"] == pytest.approx(logs.std())
    assert found["per_case_scale_gain"] == pytest.approx(0.75) and found["reseeding_gain"] == 0


def test_a_row_has_means_over_seeds_intervals_over_cases_and_the_seeds_ends():
    rng = np.random.default_rng(0)
    names = ("identity", "shape", "pattern", "colour", "supported", "background", "inserted")
    tables = [{name: rng.random(50) + seed for name in names} for seed in range(3)]
    tables[0]["supported"][7] = np.nan  # nothing was inserted there
    found = bench_ablation.row(tables)
    assert found["identity"] == pytest.approx(np.mean([t["identity"] for t in tables]))
    assert found["identity_low"] < found["identity"] < found["identity_high"]
    assert found["identity_seed_low"] == pytest.approx(tables[0]["identity"].mean())
    assert np.isfinite(found["placement"])


def test_where_no_seed_inserted_anything_a_case_is_left_out():
    names = ("identity", "shape", "pattern", "colour", "supported", "background", "inserted")
    tables = [{name: np.linspace(0, 1, 5) for name in names} for _ in range(2)]
    for one in tables:
        one["supported"][0] = np.nan
    assert bench_ablation.row(tables)["placement"] == pytest.approx(0.625)


def test_the_page_says_what_was_measured():
    docs = ROOT / "docs"
    stored = {
        name: figure["value"]
        for topic in ("evaluation", "flagship")
        for name, figure in json.loads((docs / "figures" / f"{topic}.json").read_text(encoding="utf-8")).items()
    }
    assert stored["ablation_rows"] == len(ablation.ARMS)
    figures = {start: {} for start in ablation.ARMS}
    for name, value in stored.items():
        if name.startswith("ablation_") and name != "ablation_rows":
            arm = max((arm for arm in figures if name.startswith(f"ablation_{arm}_")), key=len)
            figures[arm][name.removeprefix(f"ablation_{arm}_")] = value
    differences = {
        pair: {"value": stored[pair], "low": stored[f"{pair}_low"], "high": stored[f"{pair}_high"]}
        for pair in bench_ablation.PAIRS | bench_ablation.MORE_PAIRS
    }
    assert bench_ablation.tables_of(figures, differences) in (docs / "ablation.md").read_text(encoding="utf-8")


def test_filling_the_page_leaves_the_rest_and_needs_its_marks(tmp_path):
    page, report = tmp_path / "page.md", bench_ablation.report
    page.write_text(f"before\n{report.BEGIN}old\n{report.END}\nafter\n", encoding="utf-8")
    report.fill(page, "new\n")
    assert page.read_text(encoding="utf-8") == f"before\n{report.BEGIN}new\n{report.END}\nafter\n"
    page.write_text("before\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no place for the tables"):
        report.fill(page, "new\n")
    assert [one.name for one in tmp_path.iterdir()] == ["page.md"]


def test_a_folder_holds_one_run(tmp_path):
    bench_ablation.hold(tmp_path / "run", {"steps": 4})
    bench_ablation.hold(tmp_path / "run", {"steps": 4})
    with pytest.raises(SystemExit, match="another --folder"):
        bench_ablation.hold(tmp_path / "run", {"steps": 5})
