"""What the decoders' benchmark calls worse."""

from visual_insertion_pack.benchmarks.bench_decoder import BARS, OF_TRUE, figures_to_record, misses
from visual_insertion_pack.benchmarks.bench_playroom import UNITS

BEFORE = {name: 30.0 for name in (*BARS, "sharpness", *(f"{name}{OF_TRUE}" for name in UNITS))}


def test_every_figure_of_the_oracle_has_a_bar_and_is_recorded_before_and_after():
    assert UNITS.keys() <= BARS.keys()
    recorded = figures_to_record(BEFORE, BEFORE | {"sharpness": 36.0})
    assert recorded["decoder_sharpness_gain"][0] == 1.2 and recorded["decoder_bars_missed"][0] == 0
    assert all({f"decoder_{name}", f"decoder_{name}_before"} <= recorded.keys() for name in UNITS)


def test_what_is_worse_by_more_than_its_bar_is_named_and_a_little_worse_is_not():
    assert misses(BEFORE, BEFORE | {name: 30 - 0.9 * bar for name, bar in BARS.items()}) == []
    assert misses(BEFORE, BEFORE | {"psnr_db": 29.7, f"shape_accuracy{OF_TRUE}": 29.9}) == [
        "psnr_db",
        f"shape_accuracy{OF_TRUE}",
    ]


def test_a_larger_distance_of_colours_is_worse_and_a_smaller_one_is_not():
    assert misses(BEFORE, BEFORE | {"colour_distance": 31.5}) == ["colour_distance"]
    assert misses(BEFORE, BEFORE | {"colour_distance": 25.0, "inserted_rate": 31.0}) == []
