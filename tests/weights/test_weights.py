"""The list of weight files, finding and verifying them, and whether they belong together."""

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys

import pytest

from visual_insertion_pack.pipelines.weights import manifest as weights

CONTENT = b"weights " * 1000


@pytest.fixture
def known():
    return weights.load_manifest()


@pytest.fixture
def weight(known):
    """A small file that is known exactly."""
    return dataclasses.replace(known["vae-ft-mse"], bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def models(tmp_path):
    (tmp_path / "models" / "vae").mkdir(parents=True)
    return tmp_path / "models"


@pytest.fixture
def changed_list(tmp_path):
    """changed_list({field: value}): the shipped list with its first entry changed, as a file."""

    def write(changes):
        document = json.loads(weights.MANIFEST.read_text(encoding="utf-8"))
        document["weights"][0] |= changes
        (tmp_path / "list.json").write_text(json.dumps(document))
        return tmp_path / "list.json"

    return write


def put(models, weight, content=CONTENT, subfolder=""):
    path = models / weight.folder / subfolder / weight.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class TestManifest:
    def test_is_written_the_one_canonical_way(self):
        text = weights.MANIFEST.read_bytes().decode("utf-8")
        assert json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n" == text

    def test_has_every_role_and_no_other(self, known):
        roles = {"checkpoint", "unet", "vae", "image_encoder", "embedding_optimizer"}
        assert {weight.role for weight in known.values()} == roles

    def test_folders_are_model_folder_keys(self, known):
        assert {weight.folder for weight in known.values()} <= set(weights.FOLDERS)

    def test_names_are_unique_in_their_folder(self, known):
        places = [(weight.folder, weight.file.lower()) for weight in known.values()]
        assert len(set(places)) == len(places)

    def test_files_are_unique_in_their_repository(self, known):
        sources = [(weight.repository, weight.path) for weight in known.values()]
        assert len(set(sources)) == len(sources)

    def test_a_hash_is_whole_and_has_a_source_or_is_null(self, known):
        for weight in known.values():
            if weight.sha256 is None:
                assert weight.sha256_source is None
            else:
                assert re.fullmatch("[0-9a-f]{64}", weight.sha256), weight.id
                assert weight.sha256_source, weight.id

    def test_a_size_is_exact_or_marked_as_rounded(self, known):
        for weight in known.values():
            assert (weight.bytes is None) != (weight.bytes_approximate is None), weight.id
            assert weight.size > 1e6, weight.id

    def test_a_revision_is_a_commit_wherever_a_hash_is_pinned_on_it(self, known):
        for weight in known.values():
            assert weight.revision == "main" or re.fullmatch("[0-9a-f]{40}", weight.revision)

    def test_every_file_states_licence_repository_and_format(self, known):
        for weight in known.values():
            assert weight.licence and weight.licence_note, weight.id
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", weight.repository), weight.id
            assert weight.format == ("pickle" if weight.file.endswith((".pt", ".ckpt")) else "safetensors")

    def test_alternatives_exist_in_the_same_role_and_name_each_other(self, known):
        for weight in known.values():
            for other in weight.alternatives:
                assert known[other].role == weight.role
                assert weight.id in known[other].alternatives

    def test_the_files_of_the_flagship_belong_together(self, known):
        values = {}
        for weight in known.values():
            if weight.role != "checkpoint":
                for dimension, value in weight.pairs.items():
                    assert values.setdefault(dimension, value) == value, (weight.id, dimension)

    def test_the_page_for_people_says_the_same(self, known):
        page = (weights.MANIFEST.parent / "docs" / "weights.md").read_text(encoding="utf-8")
        rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
        assert [row[:4] + [row[4][:3].strip(",")] + [row[5].rstrip(" |")] for row in rows] == [
            [
                f"| `{weight.id}`",
                f"`{weight.folder}/{weight.file}`",
                f"`{weight.repository}`, `{weight.path}`",
                f"{weight.bytes:,}" if weight.bytes else weight.size_text,
                "yes" if weight.sha256 else "no",
                weight.licence,
            ]
            for weight in known.values()
        ]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            '{"schema": 2, "weights": []}',
            '{"schema": 1}',
            '{"schema": 1, "weights": [{}]}',
        ],
    )
    def test_another_file_is_refused_by_name(self, tmp_path, text):
        path = tmp_path / "list.json"
        path.write_text(text)
        with pytest.raises(ValueError, match="list.json is not a readable list of weights"):
            weights.load_manifest(path)

    @pytest.mark.parametrize("folder", ["file", "folder"])
    @pytest.mark.parametrize("name", ["../../x", "/abs/x", "..", ".", "", "a/b", "a\\b", "C:\\x", "C:x", "a\0b"])
    def test_a_name_that_leads_elsewhere_is_refused(self, changed_list, folder, name):
        with pytest.raises(ValueError, match=f"list.json is not a readable list of weights: .*'{folder}' must be a pl"):
            weights.load_manifest(changed_list({folder: name}))

    @pytest.mark.parametrize("value", [-1, 0, 1.5, 1e9, "x", None, [], {}, True, float("nan"), [[[]]]])
    def test_a_field_of_another_type_is_named(self, changed_list, known, value):
        for name in (field.name for field in dataclasses.fields(weights.Weight)):
            path = changed_list({name: value})
            try:
                assert weights.load_manifest(path).keys() <= known.keys() | {"x"}
            except ValueError as error:
                assert str(path) in str(error) and name in str(error)

    @pytest.mark.parametrize("text", ["[" * 100_000, '{"schema": 1, "weights": ' + "[" * 100_000, "\xff", "5", "null"])
    def test_json_of_any_shape_is_refused_by_name(self, tmp_path, text):
        (tmp_path / "list.json").write_text(text, encoding="latin-1")
        with pytest.raises(ValueError, match="list.json is not a readable list of weights"):
            weights.load_manifest(tmp_path / "list.json")

    def test_a_double_id_is_refused(self, tmp_path):
        document = json.loads(weights.MANIFEST.read_text(encoding="utf-8"))
        document["weights"] *= 2
        path = tmp_path / "list.json"
        path.write_text(json.dumps(document))
        with pytest.raises(ValueError, match="listed twice"):
            weights.load_manifest(path)


class TestFind:
    def test_looks_into_subfolders_and_old_folder_names(self, known, models):
        weight = known["paint-by-inpaint-add-base-unet"]
        path = models / "unet" / "sd15" / weight.file
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        assert weights.find(weight, weights.model_folders(models)) == path

    def test_prefers_the_top_of_a_folder(self, weight, models):
        put(models, weight, subfolder="a")
        path = put(models, weight)
        assert weights.find(weight, weights.model_folders(models)) == path

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    def test_links_that_lead_in_circles_are_followed_once(self, weight, models):
        (models / "vae" / "deep").mkdir()
        for name in ("one", "two"):
            (models / "vae" / "deep" / name).symlink_to(models / "vae", target_is_directory=True)
        assert weights.find(weight, weights.model_folders(models)) is None
        path = put(models, weight, subfolder="deep")
        assert weights.find(weight, weights.model_folders(models)) == path

    def test_missing_is_none(self, weight, models):
        assert weights.find(weight, weights.model_folders(models)) is None
        assert weights.find(weight, {}) is None

    def test_extra_model_paths_as_the_host_reads_them(self, weight, models, tmp_path):
        elsewhere = tmp_path / "elsewhere"
        yaml = tmp_path / "extra.yaml"
        yaml.write_text(
            f"a:\n  base_path: {elsewhere}\n  is_default: true\n  vae: |\n    one\n    two\n"
            "b:\n  vae: beside\n  unet: old\nc:\n"
        )
        folders = weights.model_folders(models, yaml)
        assert folders["vae"] == [
            models / "vae", elsewhere / "one", elsewhere / "two", tmp_path / "beside"
        ]  # fmt: skip
        assert folders["diffusion_models"][-1] == tmp_path / "old"
        path = put(elsewhere, dataclasses.replace(weight, folder="two"))
        assert weights.find(weight, folders) == path

    def test_a_yaml_of_something_else_is_refused(self, models, tmp_path):
        for text in ("[1, 2]", "a: {vae: [x]}", "a: {b", "a: 5", "a: {base_path: 5}", "[" * 5000):
            (tmp_path / "extra.yaml").write_text(text)
            with pytest.raises(ValueError, match="extra.yaml is not a list of model folders"):
                weights.model_folders(models, tmp_path / "extra.yaml")

    def test_the_models_folder_comes_from_the_environment(self, monkeypatch, tmp_path):
        monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
        monkeypatch.delenv("COMFYUI_MODELS", raising=False)
        assert weights.default_models_dir() == tmp_path / "models"
        monkeypatch.setenv("COMFYUI_MODELS", str(tmp_path / "m"))
        assert weights.default_models_dir() == tmp_path / "m"

    def test_missing_weight_says_all_one_needs(self, known, models):
        weight = known["paint-by-inpaint-add-base-unet"]
        text = weights.verify(weight, weights.model_folders(models)).detail
        for part in (
            weight.file, str(models / "diffusion_models"), str(models / "unet"), "about 1.72 GB",
            weight.licence, f"weights fetch {weight.id} --models-dir {models}",
        ):  # fmt: skip
            assert part in text


class TestVerify:
    def report(self, weight, models, **options):
        return weights.verify(weight, weights.model_folders(models), **options)

    def test_the_right_file(self, weight, models):
        path = put(models, weight)
        report = self.report(weight, models)
        assert report.usable
        assert report == weights.Report(weight.id, weights.FOUND, path, len(CONTENT), weight.sha256, "")

    def test_missing(self, weight, models):
        report = self.report(weight, models)
        assert (report.state, report.path, report.usable) == (weights.MISSING, None, False)
        assert "Fetch it with" in report.detail

    @pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b" ", b"<html>no</html>"])
    def test_wrong_size(self, weight, models, content):
        put(models, weight, content)
        report = self.report(weight, models)
        assert (report.state, report.sha256, report.usable) == (weights.WRONG_SIZE, None, False)
        assert f"{len(content):,} bytes, expected 8 kB (8,000 bytes)" in report.detail

    def test_wrong_hash(self, weight, models):
        put(models, weight, CONTENT[::-1])
        report = self.report(weight, models)
        assert (report.state, report.usable) == (weights.WRONG_HASH, False)
        assert report.sha256 == hashlib.sha256(CONTENT[::-1]).hexdigest()
        assert weight.sha256 in report.detail

    def test_unknown_hash_is_computed_but_not_trusted(self, weight, models):
        put(models, weight)
        unknown = dataclasses.replace(weight, sha256=None)
        report = self.report(unknown, models)
        assert (report.state, report.usable) == (weights.HASH_UNKNOWN, True)
        assert report.sha256 == weight.sha256

    def test_a_rounded_size_allows_its_rounding(self, weight, models):
        put(models, weight)
        rounded = dataclasses.replace(weight, bytes=None, bytes_approximate=7970)
        assert self.report(rounded, models).state == weights.FOUND
        off = dataclasses.replace(weight, bytes=None, bytes_approximate=7900)
        assert self.report(off, models).state == weights.WRONG_SIZE

    def test_the_hash_can_be_left_out(self, weight, models):
        put(models, weight, CONTENT[::-1])
        report = self.report(weight, models, check_hash=False)
        assert (report.state, report.sha256) == (weights.HASH_UNKNOWN, None)

    def test_progress_ends_at_the_size(self, weight, models):
        path, calls = put(models, weight), []
        with path.open("wb") as file:
            file.truncate(9 << 20)
        large = dataclasses.replace(weight, bytes=9 << 20, sha256=None)
        self.report(large, models, progress=lambda *call: calls.append(call))
        assert len(calls) == 3 and calls[-1] == (9 << 20, 9 << 20)
        assert calls == sorted(calls)


class TestCommandLine:
    """`python PACK/pipelines weights ...`, as a stranger runs it."""

    def run(self, tmp_path, *arguments, **environment):
        folder = weights.MANIFEST.parent / "pipelines"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("COMFYUI_")}
        return subprocess.run(
            [sys.executable, str(folder), "weights", *map(str, arguments)],
            cwd=tmp_path,
            env=clean | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @pytest.fixture
    def manifest(self, weight, tmp_path):
        """A list of two small files, the second of unknown hash."""
        second = dataclasses.replace(weight, id="second", file="second.safetensors", sha256=None,
                                     sha256_source=None)  # fmt: skip
        path = tmp_path / "list.json"
        entries = [dataclasses.asdict(one) for one in (weight, second)]
        path.write_text(json.dumps({"schema": weights.SCHEMA, "weights": entries}))
        return path

    def test_list_is_a_table_of_everything(self, known, tmp_path):
        done = self.run(tmp_path, "list")
        assert done.returncode == 0, done.stderr
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["ID", *known]

    def test_list_says_what_is_there(self, weight, models, manifest, tmp_path):
        put(models, weight)
        done = self.run(tmp_path, "list", "--json", "--manifest", manifest, COMFYUI_MODELS=str(models))
        states = {row["id"]: row["state"] for row in json.loads(done.stdout)}
        assert states == {weight.id: "hash unknown", "second": "missing"}

    def test_verify_exit_codes(self, weight, models, manifest, tmp_path):
        where = ("--models-dir", models, "--manifest", manifest)
        assert self.run(tmp_path, "verify", *where).returncode == 2
        path = put(models, weight)
        done = self.run(tmp_path, "verify", *where)
        assert done.returncode == 0 and f"{weight.id}: found ({path})" in done.stdout
        done = self.run(tmp_path, "verify", "second", *where)
        assert done.returncode == 2 and "second: missing" in done.stdout
        path.write_bytes(CONTENT[::-1])
        done = self.run(tmp_path, "verify", "--json", weight.id, "second", *where)
        assert done.returncode == 1
        assert [row["state"] for row in json.loads(done.stdout)] == ["wrong hash", "missing"]

    def test_wrong_use(self, models, tmp_path):
        for arguments, word in (
            (("verify", "--models-dir", tmp_path / "no"), "not a folder"),
            (("verify",), "--models-dir"),
            (("verify", "nonsense", "--models-dir", models), "vae-ft-mse-diffusers"),
            (("fetch",), "ID"),
            (("list", "--manifest", tmp_path / "no.json"), "no.json"),
        ):
            done = self.run(tmp_path, *arguments)
            assert done.returncode == 2 and word in done.stderr, (arguments, done.stderr)
            assert "Traceback" not in done.stderr

    def test_help_does_not_import_torch(self, tmp_path):
        folder = weights.MANIFEST.parent / "pipelines"
        code = (
            "import runpy, sys; sys.argv = ['visual-insertion', 'weights', 'list']\n"
            f"try: runpy.run_path({str(folder)!r}, run_name='__main__')\n"
            "except SystemExit as end: assert not end.code\n"
            "assert not {'torch', 'huggingface_hub', 'numpy', 'yaml'} & set(sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
