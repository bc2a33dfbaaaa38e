"""Fetching weight files, against a local server that imitates the hub's resolve route."""

import dataclasses
import gzip
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest

from visual_insertion_pack.pipelines.weights import hub as hub_module
from visual_insertion_pack.pipelines.weights import manifest as weights

mends_itself = pytest.mark.skipif(
    huggingface_hub.__version__.startswith("0."),
    reason="huggingface_hub 0.x gives up at once; the next run mends it",
)

CONTENT = bytes(range(256)) * 4096  # 1 MiB


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class FakeHub(ThreadingHTTPServer):
    """Serves one file. The attributes are the ways in which a server can misbehave."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT  # what is sent
        self.announced = CONTENT  # what the HEAD answer speaks of
        self.etag = None  # the ETag, if not the sha256 of what is announced
        self.head_status = 200
        self.cut = None  # after how many bytes the next GET is cut
        self.was_cut = False
        self.status_after_cut = 206
        self.ignores_range = False
        self.redirect = None  # the address the file really lies at
        self.page = None  # what a log-in page in the way answers every GET with, status 200
        self.packed = False  # whether the answer is gzip, asked for or not
        self.silent = False  # whether a GET is never answered
        self.retry_after = None  # seconds: a GET is answered with 429 and this
        self.encodings = []  # the Accept-Encoding header of each GET
        self.gets = []  # the Range header of each GET
        self.authorizations = []
        self.released = threading.Event()  # ends what is silent
        self.paths = set()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        pass  # clients that hang up


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def fail(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def headers_of_the_file(self):
        hub = self.server
        hub.paths.add(self.path)
        if not self.path.startswith("/api/"):  # what huggingface_hub asks for itself
            hub.authorizations.append(self.headers["Authorization"])
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{hub.etag or sha256(hub.announced)}"')

    def do_HEAD(self):
        if self.server.head_status != 200:
            return self.fail(self.server.head_status)
        self.send_response(302 if self.server.redirect else 200)
        self.headers_of_the_file()
        if self.server.redirect:
            self.send_header("X-Linked-Size", str(len(self.server.announced)))
            self.send_header("X-Linked-ETag", f'"{sha256(self.server.announced)}"')
            self.send_header("Location", self.server.redirect)
            self.send_header("Content-Length", "0")
        else:
            self.send_header("Content-Length", str(len(self.server.announced)))
        self.end_headers()

    def do_GET(self):
        hub = self.server
        wanted = self.headers["Range"]
        hub.gets.append(wanted)
        hub.encodings.append(self.headers["Accept-Encoding"])
        if hub.silent:
            return hub.released.wait(30)
        if hub.retry_after:
            self.send_response(429)
            self.send_header("Retry-After", str(hub.retry_after))
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if hub.page is not None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(hub.page)))
            self.end_headers()
            return self.wfile.write(hub.page)
        if hub.was_cut and hub.status_after_cut != 206:
            return self.fail(hub.status_after_cut)
        if hub.redirect:
            self.send_response(302)
            self.headers_of_the_file()
            self.send_header("Location", hub.redirect)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        start = int(wanted[len("bytes=") :].split("-")[0]) if wanted else 0
        if hub.ignores_range:
            start = 0
        body = gzip.compress(hub.content[start:]) if hub.packed else hub.content[start:]
        self.send_response(206 if start else 200)
        self.headers_of_the_file()
        self.send_header("Content-Length", str(len(body)))
        if hub.packed:
            self.send_header("Content-Encoding", "gzip")
        if start:
            end, size = len(hub.content) - 1, len(hub.content)
            self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.end_headers()
        if hub.cut:
            self.wfile.write(body[: hub.cut])
            self.wfile.flush()
            hub.cut, hub.was_cut, self.close_connection = None, True, True
            self.connection.shutdown(socket.SHUT_WR)
        else:
            self.wfile.write(body)


@pytest.fixture
def start_hub(monkeypatch):
    """Starts fake hubs and ends them."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the library pauses between tries
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    hubs = []

    def start():
        hubs.append(FakeHub())
        threading.Thread(target=hubs[-1].serve_forever, args=(0.01,), daemon=True).start()
        return hubs[-1]

    yield start
    for hub in hubs:
        hub.released.set()
        hub.shutdown()
        hub.server_close()


@pytest.fixture
def hub(start_hub):
    return start_hub()


@pytest.fixture
def weight():
    return dataclasses.replace(
        weights.load_manifest()["paint-by-inpaint-add-base-unet"],
        bytes=len(CONTENT),
        bytes_approximate=None,
        sha256=sha256(CONTENT),
        sha256_source="this test",
    )


@pytest.fixture
def models(tmp_path):
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def fetch(weight, models, hub):
    """Fetch `weight`, with changes to it, from the fake hub."""

    def call(endpoint=None, force=False, token=False, **changes):
        return weights.fetch(
            dataclasses.replace(weight, **changes),
            models,
            endpoint=endpoint or hub.endpoint,
            token=token,
            force=force,
        )

    return call


@pytest.fixture
def refused(fetch):
    """Fetch, expect a refusal, and return its text: three sentences, one of them advice."""

    def call(**options):
        with pytest.raises(weights.FetchError) as caught:
            fetch(**options)
        text = str(caught.value)
        assert text.count(". ") >= 2, text
        return text

    return call


@pytest.fixture
def cut_at(refused, hub):
    """Begin a fetch that ends after so many bytes, and leave the server in order; its message."""

    def call(size, **options):
        hub.cut, hub.status_after_cut = size, 403
        text = refused(**options)
        hub.status_after_cut = 206
        hub.gets.clear()
        return text

    return call


def files(models):
    """Every file below the models folder."""
    return sorted(path.relative_to(models).as_posix() for path in models.rglob("*.*") if path.is_file())


def final(models, weight):
    return models / weight.folder / weight.file


def part_size(models):
    (part,) = models.rglob("*.part/*.part")
    return part.stat().st_size


def test_a_file_arrives_whole_and_alone(fetch, hub, weight, models):
    report = fetch()
    assert (report.state, report.path) == (weights.FOUND, final(models, weight))
    assert report.path.read_bytes() == CONTENT
    assert [path.name for path in models.rglob("*")] == [weight.folder, weight.file]
    assert hub.paths == {f"/{weight.repository}/resolve/main/{weight.path}"}


def test_a_file_that_is_there_is_not_asked_for_again(fetch, hub):
    fetch()
    hub.paths.clear()
    fetch()
    assert not hub.paths


@mends_itself
def test_a_cut_connection_is_mended_on_the_way(fetch, hub):
    hub.cut = 300_000
    assert fetch().path.read_bytes() == CONTENT
    assert hub.gets == [None, "bytes=300000-"]


def test_a_fetch_that_failed_half_way_goes_on_next_time(fetch, cut_at, hub, weight, models):
    assert "run the same command again" in cut_at(300_000)
    assert not final(models, weight).exists()
    assert part_size(models) == 300_000
    assert fetch().path.read_bytes() == CONTENT
    assert hub.gets == ["bytes=300000-"]
    assert files(models) == [f"{weight.folder}/{weight.file}"]
    assert len(list(models.rglob("*"))) == 2


def test_a_fetch_cut_after_the_last_byte_needs_no_byte_more(fetch, cut_at, hub, models):
    cut_at(300_000)
    (part,) = models.rglob("*.part/*.part")
    part.write_bytes(CONTENT)
    assert fetch().path.read_bytes() == CONTENT
    assert hub.gets == []


def test_a_part_longer_than_the_file_is_begun_anew(fetch, cut_at, hub, models):
    cut_at(300_000)
    (part,) = models.rglob("*.part/*.part")
    part.write_bytes(CONTENT + b"x")
    assert fetch().path.read_bytes() == CONTENT
    assert hub.gets == [None]


@mends_itself
def test_a_server_that_ignores_range_starts_over(fetch, cut_at, hub):
    cut_at(300_000)
    hub.ignores_range = True
    assert fetch().path.read_bytes() == CONTENT
    assert hub.gets[-1] == "bytes=300000-"


def test_a_part_of_other_content_is_not_continued(fetch, cut_at, hub, models):
    unpinned = {"sha256": None}
    hub.announced = hub.content = CONTENT[::-1]
    cut_at(300_000, **unpinned)
    hub.announced = hub.content = CONTENT
    assert fetch(**unpinned).path.read_bytes() == CONTENT
    assert hub.gets == [None]
    assert len(files(models)) == 1


def test_wrong_content_is_thrown_away(refused, hub, models):
    hub.content = CONTENT[:-1] + b"!"
    text = refused()
    assert "wrong hash" in text and sha256(CONTENT) in text
    assert files(models) == []


def test_wrong_content_is_thrown_away_where_only_the_hub_states_the_hash(refused, hub, models):
    hub.content = CONTENT[:-1] + b"!"
    assert "wrong hash" in refused(sha256=None)
    assert files(models) == []


def test_a_page_in_place_of_the_file_is_thrown_away(refused, hub, models):
    """A proxy that answers everything with its log-in page."""
    hub.content = hub.announced = b"<html>please log in</html>"
    hub.etag = "page"
    assert "announces 26 bytes instead of 1.05 MB" in refused()
    assert files(models) == []


def test_another_announced_hash_is_refused_before_the_first_byte(refused, hub, models):
    hub.content = hub.announced = CONTENT[::-1]
    text = refused()
    assert "no longer holds" in text and sha256(CONTENT) in text
    assert hub.gets == [] and files(models) == []


def test_an_unknown_hash_is_checked_against_the_announced_one(fetch):
    report = fetch(sha256=None, bytes=None, bytes_approximate=1_050_000)
    assert (report.state, report.sha256) == (weights.FOUND, sha256(CONTENT))


def test_a_hash_nobody_states_is_reported_as_unknown(fetch, hub):
    hub.etag = "abc"
    report = fetch(sha256=None)
    assert (report.state, report.sha256) == (weights.HASH_UNKNOWN, sha256(CONTENT))


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository(refused, hub, models, weight, status):
    hub.head_status = status
    text = refused()
    assert weight.repository in text and f"HTTP {status}" in text and "hf auth login" in text
    assert files(models) == []


def test_a_file_that_is_gone(refused, hub, models, weight):
    hub.head_status = 404
    text = refused()
    assert f"no {weight.path} at revision main" in text and str(final(models, weight)) in text


def test_a_broken_server(refused, hub):
    hub.head_status = 500
    assert "did not arrive" in refused()


def test_no_network(refused, models):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    text = refused(endpoint=f"http://127.0.0.1:{port}")
    assert f"The connection to http://127.0.0.1:{port} failed" in text and "proxy" in text
    assert files(models) == []


def test_not_enough_disk_is_known_beforehand(refused, hub, models, monkeypatch):
    usage = shutil.disk_usage(models)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=500_000))
    text = refused()
    assert "1.05 MB more are needed" in text and "500 kB are free" in text
    assert hub.gets == [] and files(models) == []


def test_what_is_already_there_needs_no_disk_again(fetch, cut_at, hub, models, monkeypatch):
    cut_at(800_000)
    usage = shutil.disk_usage(models)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=500_000))
    assert fetch().path.read_bytes() == CONTENT


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_disk_that_fills_up_on_the_way(refused, monkeypatch):
    from contextlib import contextmanager
    from pathlib import Path

    @contextmanager
    def full(destination, remote):
        yield Path("/dev/full")

    monkeypatch.setattr(hub_module, "part_file", full)
    assert "is full" in refused()


def test_a_read_only_folder(refused, models):
    models.chmod(0o500)
    try:
        if os.access(models, os.W_OK):
            pytest.skip("this user may write anywhere")
        assert "refuses" in refused()
    finally:
        models.chmod(0o700)


def test_a_folder_where_nothing_can_be_made(refused, monkeypatch):
    def deny(self, *args, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", deny)
    assert "refuses" in refused()


def test_a_foreign_file_of_that_name_is_not_overwritten(fetch, refused, weight, models):
    path = final(models, weight)
    path.parent.mkdir()
    path.write_bytes(b"mine")
    assert "--force" in refused()
    assert path.read_bytes() == b"mine"
    assert fetch(force=True).path.read_bytes() == CONTENT


def test_a_models_folder_that_does_not_exist_is_not_made(weight, tmp_path):
    with pytest.raises(weights.FetchError, match="is not a folder"):
        weights.fetch(weight, tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_the_token_does_not_follow_to_another_server(fetch, hub, start_hub):
    store = start_hub()
    hub.redirect = f"http://localhost:{store.server_port}/store/1"
    assert fetch(token="hf_secret").path.read_bytes() == CONTENT
    assert set(hub.authorizations) == {"Bearer hf_secret"}
    assert set(store.authorizations) == {None}


def test_two_at_once_fetch_once(fetch, hub, models):
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(fetch())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [report.path.read_bytes() == CONTENT for report in reports] == [True] * 3
    assert len(hub.gets) == 1
    assert len(files(models)) == 1


# what comes in the way


PAGE = b"<html>Welcome to the hotel. Please log in.</html>"


def test_a_page_in_the_way_costs_nothing_of_what_had_arrived(fetch, refused, cut_at, hub, models):
    cut_at(300_000)
    hub.page = PAGE
    assert "did not arrive" in refused()
    assert part_size(models) == 300_000
    hub.page = None
    hub.gets.clear()
    assert fetch().path.read_bytes() == CONTENT
    assert hub.gets == ["bytes=300000-"]


def test_a_page_in_answer_to_the_first_byte_is_not_taken_for_its_beginning(fetch, refused, hub, models):
    hub.page = PAGE
    assert "did not arrive" in refused()
    hub.page = None
    hub.gets.clear()
    assert fetch().path.read_bytes() == CONTENT
    assert hub.gets == [None]


@mends_itself
def test_a_server_that_ignores_range_and_is_cut_leaves_what_had_arrived(refused, cut_at, hub, models):
    cut_at(300_000)
    hub.ignores_range = True
    hub.cut, hub.status_after_cut, hub.was_cut = 100_000, 403, False
    refused()
    assert part_size(models) == 300_000
    assert [path.suffix for path in models.rglob("*.part/*")] == [".part"]


@pytest.mark.parametrize("packed", [False, True])
def test_no_more_is_written_than_was_announced(refused, hub, models, packed):
    hub.content = CONTENT * 30
    hub.packed = packed
    assert "more than the 1.05 MB it announced" in refused()
    assert sum(path.stat().st_size for path in models.rglob("*") if path.is_file()) == 0
    assert set(hub.encodings) == {"identity"}


def test_more_than_announced_leaves_what_had_arrived(refused, cut_at, hub, models):
    cut_at(300_000)
    hub.content = CONTENT * 3
    assert "more than the 1.05 MB it announced" in refused()
    assert part_size(models) == 300_000


def test_a_server_that_says_nothing_is_given_up(refused, cut_at, hub, models, monkeypatch):
    cut_at(300_000)
    monkeypatch.setattr(hub_module, "PATIENCE", 0.3)
    hub.silent = True
    assert "Nothing has arrived for 0.3 seconds" in refused()
    assert part_size(models) == 300_000


@mends_itself
def test_a_server_that_wants_a_day_of_patience_is_given_up(refused, hub, monkeypatch):
    monkeypatch.setattr(hub_module, "PATIENCE", 0.3)
    monkeypatch.setattr("time.sleep", lambda seconds: hub.released.wait(seconds))
    hub.retry_after = 100_000
    assert "Nothing has arrived for 0.3 seconds" in refused()
    assert len(hub.gets) == 1


def test_only_the_default_hub_is_told_ones_own_token(fetch, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetch(token=None).path.read_bytes() == CONTENT
    assert set(hub.authorizations) == {None}
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert hub_module.Source("a/b", "c", "main").login is None, "huggingface_hub finds the token by itself"
    assert hub_module.Source("a/b", "c", "main", "https://huggingface.co/").login is None
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    assert hub_module.Source("a/b", "c", "main").login is False


class TestCommandLine:
    @pytest.fixture
    def run(self, weight, hub, models, tmp_path):
        """Run a shell command line as a user would, the list holding only our weight."""
        manifest = tmp_path / "list.json"
        entries = [dataclasses.asdict(weight)]
        manifest.write_text(json.dumps({"schema": weights.SCHEMA, "weights": entries}))

        def call(*arguments, **environment):
            folder = weights.MANIFEST.parent / "pipelines"
            clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "COMFYUI_"))}
            clean |= {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.endpoint}
            return subprocess.run(
                [sys.executable, str(folder), "weights", *map(str, arguments),
                 "--manifest", str(manifest)],
                env=clean | environment, capture_output=True, text=True, timeout=120,
            )  # fmt: skip

        return call

    def test_fetch_then_verify(self, run, weight, models):
        done = run("fetch", weight.id, "--models-dir", models, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0]["path"] == str(final(models, weight))
        assert weight.licence_note in done.stderr
        done = run("verify", weight.id, COMFYUI_MODELS=str(models))
        assert (done.returncode, done.stdout.split(" (")[0]) == (0, f"{weight.id}: found")

    def test_the_command_of_the_error_message_works(self, run, weight, models):
        import shlex

        text = weights.how_to_get(weight, weights.model_folders(models))
        command = shlex.split(text.split("Fetch it with: ")[1])
        done = run(*command[command.index("weights") + 1 :])
        assert done.returncode == 0, done.stderr
        assert final(models, weight).read_bytes() == CONTENT

    def test_a_failure_is_one_message_and_exit_code_1(self, run, hub, weight, models):
        hub.head_status = 404
        done = run("fetch", weight.id, "--models-dir", models, "--json")
        assert done.returncode == 1
        row = json.loads(done.stdout)[0]
        assert row["state"] == "failed" and "HTTP 404" in row["detail"]
        assert "Traceback" not in done.stderr

    def test_a_mirror_is_told_the_token_where_that_is_asked_for(self, run, hub, weight, models):
        for options, told in (((), None), (("--send-token", "--force"), "Bearer hf_secret")):
            hub.authorizations.clear()
            done = run("fetch", weight.id, "--models-dir", models, *options, HF_TOKEN="hf_secret")
            assert done.returncode == 0, done.stderr
            assert set(hub.authorizations) == {told}
            final(models, weight).unlink()

    def test_offline_mode_is_named(self, run, weight, models):
        done = run("fetch", weight.id, "--models-dir", models, HF_HUB_OFFLINE="1")
        assert done.returncode == 1
        assert "HF_HUB_OFFLINE forbids the network" in done.stderr
