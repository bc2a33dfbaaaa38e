"""What a file says of its making: the command, the software, hashes of what was read, names of data."""

import hashlib
import json
import re

import pytest
from PIL import Image

from visual_insertion_pack.pipelines import provenance
from visual_insertion_pack.pipelines.pictures.files import save_picture


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["bin/visual-insertion", "train", "playroom"], "visual-insertion train playroom"),
        (
            ["/pack/pipelines/__main__.py", "insert", "--scene", "my scene.png"],
            "visual-insertion insert --scene 'my scene.png'",
        ),
        (["somewhere/study.py"], "study.py"),
        ([], ""),
    ],
)
def test_the_command_is_what_was_typed_and_its_program_has_no_folder(monkeypatch, typed, told):
    monkeypatch.setattr("sys.argv", typed)
    assert provenance.command().replace("''", "") == told


def test_the_software_is_of_this_checkout():
    software = provenance.software()
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", software["visual-insertion"]) and software["python"].startswith("3.")
    assert software["torch"] and software["diffusers"] and software["commit"] != ""


def test_of_a_models_folder_what_is_read_is_hashed(tmp_path):
    for name in ("unet/a.safetensors", "vae/b.bin", "safety_checker/c.bin", "unet/config.json", "d.ckpt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    hashes = provenance.sha256_of_models(tmp_path)
    assert hashes == {name: hashlib.sha256(name.encode()).hexdigest() for name in ("unet/a.safetensors", "vae/b.bin")}
    assert provenance.sha256_of_models(tmp_path / "d.ckpt").keys() == {"d.ckpt"}
    assert provenance.sha256_of_models(tmp_path / "unet").keys() == {"a.safetensors"}
    assert provenance.sha256_of_models(tmp_path / "gone") == {}


def test_one_hash_of_many_files_depends_on_names_and_contents_and_not_on_the_folder(tmp_path):
    def folder(place, **files):
        (tmp_path / place).mkdir()
        for name, content in files.items():
            (tmp_path / place / name).write_text(content)
        return provenance.sha256_of_all((tmp_path / place).iterdir())

    first = folder("one", a="1", b="2")
    assert folder("two", b="2", a="1") == first
    assert len({first, folder("three", a="2", b="1"), folder("four", a="1", c="2")}) == 3


def test_data_have_the_name_of_their_folder_and_not_of_their_split(tmp_path):
    assert provenance.data_name(tmp_path / "toys" / "train") == "toys/train"
    assert provenance.data_name(tmp_path / "toys") == "toys"


def test_a_png_holds_the_record_and_its_pixels_are_the_same(tmp_path):
    picture = Image.effect_noise((20, 10), 50).convert("RGB")
    record = provenance.made_by(settings={"seed": 3, "words": "ein Gef\u00e4\u00df"})
    save_picture(picture, tmp_path / "with.png", record=record)
    save_picture(picture, tmp_path / "without.png")
    save_picture(picture, tmp_path / "with.webp", record=record)
    written = Image.open(tmp_path / "with.png")
    assert json.loads(written.text[provenance.PNG_TEXT]) == record
    assert written.tobytes() == Image.open(tmp_path / "without.png").tobytes() == picture.tobytes()
    assert not Image.open(tmp_path / "without.png").text
    assert Image.open(tmp_path / "with.webp").tobytes() == picture.tobytes()
