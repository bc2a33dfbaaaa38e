"""Licences of weights: of known files, by what files say of themselves, and by models' cards."""

import torch
from safetensors.torch import save_file

from visual_insertion_pack.pipelines.weights.licences import licences_of
from visual_insertion_pack.pipelines.weights.manifest import load_manifest


def test_a_licence_is_the_manifests_the_files_or_the_cards(tmp_path):
    known = next(weight for weight in load_manifest().values() if weight.sha256)
    carded = tmp_path / "carded"
    carded.mkdir()
    (carded / "README.md").write_text("---\ntags: [a]\nlicense: mit\n---\n# A model\n", encoding="utf-8")
    for path, facts in ((carded / "unet.safetensors", None), (carded / "own.safetensors", {"licence": "CC0"})):
        save_file({"a": torch.zeros(1)}, path, facts)
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(b"no weights")
    files = {"known": tmp_path / "x.safetensors", "carded": carded, "bare": bare, "none": None}
    hashes = {
        "known": {"x.safetensors": known.sha256},
        "carded": {"unet.safetensors": "0", "own.safetensors": "1"},
        "bare": {"bare.safetensors": "2"},
    }
    assert licences_of(files, hashes) == {"known": known.licence, "carded": "CC0, mit", "bare": "not stated"}
