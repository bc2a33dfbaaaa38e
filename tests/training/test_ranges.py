"""No wrong setting is accepted: each entry has its choices or its range, and the error has its name."""

from pathlib import Path

import pytest

from visual_insertion_pack.pipelines.commands import train

OURS = """
optimizer.no_object=empty-prompt | 'optimizer.no_object' must be one of 'empty prompt', 'zeros' or 'released'
optimizer.no_object=zero | 'optimizer.no_object' must be one of
optimizer.no_object=Released | 'optimizer.no_object' must be one of
optimizer.variant=resmapler | 'optimizer.variant' must be one of resampler, two_linear
optimizer.blocks=0 | 'optimizer.blocks' must be at least 1, not 0
optimizer.blocks=-2 | 'optimizer.blocks' must be at least 1
optimizer.heads=0 | 'optimizer.heads' must be at least 1
optimizer.heads=2.5 | 'optimizer.heads' must be of type int
optimizer.random_queries=1 | 'optimizer.random_queries' must be of type bool
run.precision=fp8 | 'run.precision' must be one of 'bf16', 'fp16' or 'fp32', not 'fp8'
run.precision=bfloat16 | 'run.precision' must be one of
run.gradient_norm=0.0 | 'run.gradient_norm' must be more than 0.0, not 0.0
run.gradient_norm=-1.0 | 'run.gradient_norm' must be more than 0.0
run.gradient_norm=.inf | 'run.gradient_norm' must be a finite number
run.accumulate=0 | 'run.accumulate' must be at least 1
run.accumulate=-1 | 'run.accumulate' must be at least 1
run.ema=2.0 | 'run.ema' must be less than 1.0, not 2.0
run.ema=-1 | 'run.ema' must be at least 0.0
run.ema=.nan | 'run.ema' must be
run.steps=0 | 'run.steps' must be at least 1
run.steps=-1 | 'run.steps' must be at least 1
run.warmup=-5 | 'run.warmup' must be at least 0
run.log_every=0 | 'run.log_every' must be at least 1
run.save_every=-1 | 'run.save_every' must be at least 0
run.validate_every=-1 | 'run.validate_every' must be at least 0
run.learning_rate=0 | 'run.learning_rate' must be more than 0.0
run.learning_rate=.nan | 'run.learning_rate' must be a finite number
run.final_rate=2 | 'run.final_rate' must be at most 1.0
run.weight_decay=-0.1 | 'run.weight_decay' must be at least 0.0
run.betas=[0.9, 1.0] | 'run.betas.1' must be less than 1.0
run.seed=-1 | 'run.seed' must be at least 0
run.device=gpu | 'run.device' must be one of 'cpu' or 'cuda'
batch=0 | 'batch' must be at least 1
batch=true | 'batch' must be of type int
dropout.object=5.0 | 'dropout.object' must be at most 1.0
dropout.object=-0.1 | 'dropout.object' must be at least 0.0
dropout={object: .5, scene: .5, both: .5} | dropout: the shares of object, scene and both must not be more than 1
weighting.region=-5 | 'weighting.region' must be at least 0.0
weighting.min_snr=.inf | 'weighting.min_snr' must be a finite number
unet.train=all | 'unet.train' must be one of 'none', 'kv' or 'attn2'
unet.rate=-1 | 'unet.rate' must be more than 0.0
data.pictures.size=100 | 'data.pictures.size' must be a multiple of 8
data.pictures.size=0 | 'data.pictures.size' must be at least 16
data.pictures.views=0 | 'data.pictures.views' must be at least 1
data.pictures.variants=0 | 'data.pictures.variants' must be at least 1
data.pictures.framing=squish | 'data.pictures.framing' must be one of squash, pad, crop
data.pictures.background=pink | 'data.pictures.background' must be one of keep, mean
data.augmentation.flip=2 | 'data.augmentation.flip' must be at most 1.0
data.augmentation.scale=1.0 | 'data.augmentation.scale' must be less than 1.0
data.augmentation.rotation=500 | 'data.augmentation.rotation' must be at most 180
"""

PAINT_BY_EXAMPLE = """
null_share=1.5 | 'null_share' must be at most 1.0
blocks=0 | 'blocks' must be at least 1
batch=-1 | 'batch' must be at least 1
data.pictures.extension=-1 | 'data.pictures.extension' must be at least 0.0
data.pictures.margin=-1 | 'data.pictures.margin' must be at least 0
data.pictures.size=0 | data.pictures: size must be a multiple of 8
data.augmentation.blur=.nan | 'data.augmentation.blur' must be
run.precision=half | 'run.precision' must be one of
"""


def cases():
    for recipe, table in (("playroom", OURS), ("paint_by_example_playroom", PAINT_BY_EXAMPLE)):
        for line in table.strip().splitlines():
            change, _, message = line.partition(" | ")
            yield pytest.param(recipe, change, message, id=f"{recipe}: {change}")


@pytest.mark.parametrize(("recipe", "change", "message"), list(cases()))
def test_a_value_out_of_range_is_refused_by_the_entrys_name(recipe, change, message):
    with pytest.raises(ValueError) as caught:
        train.read(Path(recipe), [change])
    assert message in str(caught.value)


def test_all_wrong_entries_are_named_at_once():
    with pytest.raises(ValueError) as caught:
        train.read(Path("playroom"), ["run.steps=0", "optimizer.no_object=zero", "run.ema=2", "dropuot.object=1"])
    for name in ("unknown entry 'dropuot'", "'run.steps'", "'optimizer.no_object'", "'run.ema'"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folder: a\nrun: {steps: 1, steps: 2}\n", "the entry 'steps' is there twice (line 2"),
        ("folder: a\nbatch: 1\nfolder: b\n", "the entry 'folder' is there twice"),
        ("a: &big [1, 1]\nb: [*big, *big]\n", "references (*big) are not supported"),
        ("a: &endless [*endless]\n", "references (*endless) are not supported"),
        ("run: " + "[" * 5000 + "]" * 5000, "recursion"),
        ("- folder\n- batch\n", "it is no table of entries"),
        ("!!python/object/apply:os.getcwd []\n", "could not determine a constructor for the tag"),
        ("", "the entry 'folder' is missing"),
        ("\x00", "is not a usable configuration"),
    ],
    ids=["twice inside", "twice", "reference", "endless", "deep", "list", "program", "empty", "binary"],
)
def test_a_file_that_hides_a_mistake_or_a_bomb_is_refused(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="config.yaml is not a usable configuration") as caught:
        train.read(tmp_path / "config.yaml")
    assert message in str(caught.value)
