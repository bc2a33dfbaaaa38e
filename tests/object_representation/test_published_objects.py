"""A published object (delta_last.ckpt) converted: against the published code's arithmetic, and what is refused."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.commands import convert as convert_command
from visual_insertion_pack.pipelines.object_representation import learned_object, published_conversion
from visual_insertion_pack.pipelines.object_representation.application import applied, contexts_of, read_applied
from visual_insertion_pack.pipelines.paint_by_example.pipeline import PaintByExamplePipeline
from visual_insertion_pack.tests import paint_by_example_parts as parts
from visual_insertion_pack.tests import published_object_parts as published

VISION = parts.VISION | {"hidden_size": 128}  # two heads of 64, as a file without a config is read
SIZE = dict(width=128, context=parts.UNET["cross_attention_dim"], tokens=17, depth=2)
SIZES = [(90, 70), (61, 47), (40, 80)]
SIDE = VISION["image_size"]
KV = ("to_k.weight", "to_v.weight")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The base's networks, as a diffusers folder and as one file; its tower."""
    folder = tmp_path_factory.mktemp("base")
    networks = parts.write_folder(folder)
    encoder = parts.random_encoder(VISION)
    save_file(parts.published_names(encoder.state_dict()), folder / "image_encoder/model.safetensors")
    (folder / "image_encoder/config.json").write_text(json.dumps(VISION))
    torch.save({"state_dict": parts.ldm_state(encoder, networks["unet"])}, folder / "model.ckpt")
    return folder, networks["unet"], encoder


@pytest.fixture
def object_files(small, tmp_path):
    """object_files(views, **change of the state): the pictures of an object, and its published file."""

    def write(views=3, spoil=lambda state: None, **options):
        data, pictures, boxes, reference, picture = published.write_pictures(tmp_path / "cup", SIZES[:views], SIDE)
        state = published.published_state(small[1], published.SMALL, **SIZE, **options)
        spoil(state)
        torch.save({"state_dict": state}, tmp_path / "delta_last.ckpt")
        return tmp_path / "delta_last.ckpt", data, reference, state, (pictures, boxes, picture)

    return write


def convert(file, data, output, base, *more):
    words = ["convert", "learned-object", file, output, "--base", base, "--pictures", data, *more]
    return main([str(word) for word in words])


def predicted(small, path, strength=1.0):
    """What `paint --learned` predicts with a file, null and object."""
    pipeline = PaintByExamplePipeline.from_folder(small[0])
    one = read_applied(f"{path}:{strength:g}")
    context, null = contexts_of(one, pipeline.exemplar_encoder.null[0])
    with applied(pipeline.unet, [one]):
        return published.forward(pipeline.unet, context, null[:, :1], 16), context


def reference(small, state, pictures, **options):
    shots, boxes, picture = pictures
    context = published.published_context(state, small[2].model, shots, boxes, picture, **options)
    unet = published.set_weights(parts.random_unet(), state, published.SMALL)
    return published.forward(unet, context, small[2].uncond_vector, 16), context


@pytest.mark.parametrize("base", ["", "model.ckpt"])
@pytest.mark.parametrize("views", [3, 1])
def test_a_converted_object_predicts_what_the_published_code_does(small, object_files, tmp_path, base, views):
    file, data, picture, state, shown = object_files(views)
    output = tmp_path / "cup.safetensors"
    assert convert(file, data, output, small[0] / base, "--reference", picture) == 0
    ours, context = predicted(small, output)
    theirs, their_context = reference(small, state, shown)
    assert context.shape == (1, 1 + views, SIZE["context"])
    assert parts.relative(context, their_context) <= 1e-5
    assert parts.relative(ours, theirs) <= 1e-5
    plain = published.forward(small[1], their_context, small[2].uncond_vector, 16)
    assert parts.relative(plain, theirs) > 1e-3, "the weights do not matter here"


def test_pixels_can_be_upright_and_normalised(small, object_files, tmp_path):
    file, data, picture, state, shown = object_files()
    output = tmp_path / "cup.safetensors"
    assert convert(file, data, output, small[0], "--reference", picture, "--prior-pixels", "normalised") == 0
    tokens = learned_object.load(output).tokens[None]
    upright = published.published_context(state, small[2].model, *shown, transposed=False)
    assert parts.relative(tokens, upright) <= 1e-5 < 0.01 < parts.relative(tokens, reference(small, state, shown)[1])


def test_weights_that_are_set_are_the_same_and_low_rank_says_what_it_keeps(small, object_files, tmp_path, capsys):
    file, data, picture, state, shown = object_files()
    theirs, _ = reference(small, state, shown)
    whole = tmp_path / "set.safetensors"
    assert convert(file, data, whole, small[0], "--reference", picture, "--set") == 0
    assert parts.relative(predicted(small, whole)[0], theirs) <= 1e-5
    low = tmp_path / "low.safetensors"
    assert convert(file, data, low, small[0], "--reference", picture, "--rank", 4) == 0
    said = capsys.readouterr().out
    assert "35 of 35 cross-attention tensors differ from the base, by " in said
    assert "rank 4 keeps " in said and "% of the change" in said
    assert low.stat().st_size < whole.stat().st_size / 2
    assert 1e-4 < parts.relative(predicted(small, low)[0], theirs) < 0.5


def test_layers_that_were_not_trained_are_left_out_and_the_file_says_where_it_is_from(small, object_files, tmp_path):
    file, data, *_ = object_files(leaves=KV)
    output = tmp_path / "cup.safetensors"
    assert convert(file, data, output, small[0] / "model.ckpt", "--licence", "mine") == 0
    learned = learned_object.load(output)
    assert len(learned.patch) == 14 and all("attn2_to_q" not in name for name in learned.patch)
    assert learned.facts["base_name"] == "model.ckpt" and learned.facts["licence"] == "mine"
    assert json.loads(learned.facts["settings"]) == {"prior_pixels": "published"}
    assert len(json.loads(learned.facts["sources_sha256"])) == 1 + len(SIZES), "the file's, and those of the pictures"
    assert learned.thumbnail is not None
    with safe_open(output, "pt") as stored:
        assert stored.get_slice("object.tokens").get_dtype() == "F32", "as exact as the differences beside them"


def test_a_file_may_have_keys_and_values_alone_or_be_safetensors(small, object_files, tmp_path):
    def keep_kv(state):
        for name in [name for name in state if ".attn2." in name and not name.endswith(KV)]:
            del state[name]

    _, data, picture, state, shown = object_files(spoil=keep_kv, leaves=KV)
    save_file(state, tmp_path / "delta.safetensors")
    output = tmp_path / "cup.safetensors"
    assert convert(tmp_path / "delta.safetensors", data, output, small[0], "--reference", picture) == 0
    whole = published.published_state(small[1], published.SMALL, **SIZE, leaves=KV)
    assert parts.relative(predicted(small, output)[0], reference(small, whole, shown)[0]) <= 1e-5


def test_half_the_strength_is_half_the_change(small, object_files, tmp_path):
    file, data, picture, state, _ = object_files()
    output = tmp_path / "cup.safetensors"
    assert convert(file, data, output, small[0], "--reference", picture, "--set") == 0
    half, context = predicted(small, output, 0.5)
    names = published.attention_names(published.SMALL)
    own = small[1].state_dict()
    between = {name: (state[name] + own[ours]) / 2 for name, ours in names.items()}
    unet = published.set_weights(parts.random_unet(), between, published.SMALL)
    assert parts.relative(half, published.forward(unet, context, small[2].uncond_vector, 16)) <= 1e-5


def rename(state, before, after):
    for name in [name for name in state if name.startswith(before)]:
        state[f"{after}{name.removeprefix(before)}"] = state.pop(name)


def narrowed(state, end):
    for name in [name for name in state if name.endswith(end)]:
        state[name] = state[name][:, :-1].clone()


def drop(state, *parts):
    for name in [name for name in state if any(part in name for part in parts)]:
        del state[name]


BLOCK = "cond_stage_model.mapper.resblocks.1"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda s: rename(s, "model.diffusion_model.", "unet_model."),
            r"Its names are other ones \(such as unet_model",
        ),
        (lambda s: drop(s, "attn2"), "holds no cross-attention of a UNet"),
        (lambda s: drop(s, "mapper"), "holds no exemplar encoder"),
        (lambda s: drop(s, "prior_block.1.weight"), "lacks .*prior_block.1.weight, .*it is Paint by Example itself"),
        (lambda s: drop(s, "prior_block.1.bias"), "lacks .*prior_block.1.bias"),
        (lambda s: drop(s, "middle_block.1", "output_blocks.2.1"), "does not fit the cross-attention .* 10 missing"),
        (lambda s: s.pop(f"{BLOCK}.mlp.c_fc.bias"), "does not fit the exemplar encoder of its base: 1 missing"),
        (lambda s: s.pop("proj_out.weight"), "does not fit the exemplar encoder of its base: 1 missing"),
        (lambda s: narrowed(s, "to_k.weight"), "does not fit the cross-attention .* 7 of another shape"),
        (lambda s: narrowed(s, "proj_out.weight"), "does not fit the exemplar encoder of its base: 1 of another shape"),
        (lambda s: narrowed(s, "prior_block.1.weight"), r"its prior_block has the shape \(128, 2175\)"),
        (lambda s: s["proj_out.bias"].fill_(float("nan")), "not finite: proj_out.bias"),
        (
            lambda s: s["cond_stage_model.prior_encoder.prior_block.1.weight"][3].fill_(float("inf")),
            "not finite: cond_",
        ),
        (lambda s: [s[name].fill_(float("nan")) for name in s if "to_v" in name], "not finite: model.diff"),
        (lambda s: [s[name].mul_(-1) for name in s if "attn2" in name], "was not learned on .* 2.0 times its size"),
        (lambda s: s.update({"object.tokens": torch.zeros(1)}), "is a learned object already"),
    ],
)
def test_what_is_no_published_object_of_the_base_is_named(small, object_files, tmp_path, capsys, spoil, said):
    file, data, picture, *_ = object_files(spoil=spoil)
    output = tmp_path / "cup.safetensors"
    assert convert(file, data, output, small[0], "--reference", picture) == 1
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    with pytest.raises(ValueError, match=said):
        raise ValueError(error)
    assert str(file) in error and not output.exists()


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda file, *_: file.write_bytes(file.read_bytes()[:-2000]), 1, "delta_last.ckpt is a pickle that cannot be"),
        (lambda file, *_: file.write_bytes(b"<html>"), 1, "delta_last.ckpt is not a readable safetensors file"),
        (lambda file, *_: file.unlink(), 2, "delta_last.ckpt does not exist"),
        (lambda file, data: (data.parent / "bbox" / "0.txt").write_text("1 2 3"), 1, "0.txt holds no box"),
        (
            lambda file, data: (data.parent / "bbox" / "1.txt").write_text("10.2 10.2 10.9 10.9"),
            1,
            "1.png: The box from",
        ),
        (lambda file, data: [path.unlink() for path in data.iterdir()], 2, "has no picture of the object"),
    ],
)
def test_damaged_files_and_pictures_without_boxes_are_named(small, object_files, tmp_path, capsys, change, code, said):
    file, data, picture, *_ = object_files()
    change(file, data)
    assert convert(file, data, tmp_path / "cup.safetensors", small[0], "--reference", picture) == code
    assert said in capsys.readouterr().err


def test_another_model_is_no_base_and_nothing_that_is_read_is_written_over(small, object_files, tmp_path, capsys):
    file, data, picture, state, _ = object_files()
    assert convert(file, data, tmp_path / "cup.safetensors", data) == 2
    save_file(state, tmp_path / "delta.safetensors")
    assert convert(tmp_path / "delta.safetensors", data, tmp_path / "delta.safetensors", small[0]) == 1
    assert "would be written over" in capsys.readouterr().err
    assert convert(file, data, tmp_path / "cup.ckpt", small[0]) == 1
    assert "must end in .safetensors" in capsys.readouterr().err


def test_the_command_knows_what_the_room_does():
    assert convert_command.PRIOR_PIXELS == published_conversion.PRIOR_PIXELS
    with pytest.raises(ValueError, match="Unknown pixels 'raw'"):
        published_conversion.Conversion("raw")
