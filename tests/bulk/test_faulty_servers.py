"""`--servers` with servers that fail in the ways of real ones: HTTP servers of this process that answer as told."""

import json
import threading
import time
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
from PIL import Image

from visual_insertion_pack.devtools.host import free_port
from visual_insertion_pack.pipelines.bulk import comfyui_client
from visual_insertion_pack.pipelines.bulk.comfyui_client import Client, Lost
from visual_insertion_pack.pipelines.bulk.servers import TRIES, crew_of_servers, kind_of
from visual_insertion_pack.pipelines.bulk.tasks import Task
from visual_insertion_pack.pipelines.bulk.workflow import workflow
from visual_insertion_pack.pipelines.provenance import Origin

STATS = {"system": {"comfyui_version": "0.30.0", "pytorch_version": "2.9"}, "devices": [{"type": "cpu"}]}
KIND = {"comfyui": "0.30.0", "torch": "2.9", "device": "cpu"}
NODES = {
    "1": {"class_type": "LoadImage", "inputs": {"image": ""}, "_meta": {"title": "Scene"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
}
PATIENCE = 60  # seconds until a test counts as hanging


def png():
    buffer = BytesIO()
    Image.new("RGB", (64, 64), (9, 90, 200)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = png()
ENTRY = {"status": {"status_str": "success"}, "outputs": {"2": {"images": [{"filename": "made.png"}]}}}
SOUND = {
    "/system_stats": STATS,
    "/object_info": {"LoadImage": {}, "PreviewImage": {}},
    "/upload": {"name": "given.png"},
    "/prompt": {"prompt_id": "1", "node_errors": {}},
    "/history": {"1": ENTRY},
    "/view": PICTURE,
}


class Stub:
    """A server that answers by the beginnings of paths: with a body, a code, or what a function says next.

    What is not said is answered as a sound ComfyUI does.
    """

    def __init__(self, **answers):
        self.answers = {**SOUND, **{f"/{name}": answer for name, answer in answers.items()}}
        self.asked = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                stub.asked.append(self.path)
                begin = next(begin for begin in stub.answers if self.path.startswith(begin))
                answer = stub.answers[begin]
                answer = answer() if callable(answer) else answer
                code, body = (answer, {"error": {"message": "No."}}) if isinstance(answer, int) else (200, answer)
                with suppress(ConnectionError):  # whoever asked may be gone
                    self.send_response(code)
                    self.end_headers()
                    self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def count(self, begin):
        """How often it was asked for what begins so."""
        return sum(path.startswith(f"/{begin}") for path in self.asked)


def first(*answers, then):
    """Answers one after another, then always the last one."""
    left = list(answers)
    return lambda: left.pop(0) if left else then


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(comfyui_client, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(comfyui_client, "LONGEST_WAIT", 0.1)
    monkeypatch.setattr(comfyui_client, "SILENCE", 0.2)
    monkeypatch.setattr(comfyui_client, "PATIENCE", 60.0)


@pytest.fixture
def crew(tmp_path):
    """What makes a crew of servers; and `pairs(count)`."""
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "scene.png")

    class Crews:
        told = []

        def of(self, *urls, nodes=NODES):
            self.told = []
            toy = workflow(nodes, {"scene": "Scene"}, {}, "toy.json")
            return crew_of_servers(urls, toy, Origin({}, {}, {}), {}, KIND, record=False, told=self.told.append)

        def pairs(self, count):
            task = Task("p", {"scene": tmp_path / "scene.png"}, 1, tmp_path, {}, 2)
            return [replace(task, name=f"p{n}", output=tmp_path / f"p{n}.png") for n in range(count)]

        def run(self, *urls, count=1, nodes=NODES):
            with self.of(*urls, nodes=nodes) as crew:
                return {task.name: reason for task, reason in crew.run(self.pairs(count))}

    return Crews()


def test_a_sound_server_makes_a_picture(crew, tmp_path):
    with Stub() as stub:
        assert kind_of([stub.url]) == KIND
        assert crew.run(stub.url) == {"p0": ""}
    assert Image.open(tmp_path / "p0.png").getpixel((0, 0)) == (9, 90, 200)


def test_a_busy_server_is_asked_for_as_long_as_one_that_went_may_take(crew, monkeypatch):
    monkeypatch.setattr(comfyui_client, "SILENCE", 0.0)
    with Stub(prompt=first(*(429, 502, 503, 504) * 3, then=SOUND["/prompt"])) as stub:
        assert crew.run(stub.url) == {"p0": ""}
        assert stub.count("prompt") == 13 and stub.count("upload") == 1, "it is never given up"


def test_a_server_that_is_busy_for_ever_is_lost(monkeypatch):
    with Stub(prompt=503) as stub, pytest.raises(Lost, match="does not answer: HTTP Error 503"):
        Client(stub.url, patience=0.1).json("/prompt")


def test_the_time_of_a_silent_server_begins_when_it_is_asked():
    goes_on = threading.Event()

    def answer():
        goes_on.wait(PATIENCE)
        return STATS

    with Stub(system_stats=answer) as stub:
        with pytest.raises(Lost, match="does not answer"):
            Client(stub.url, silence=0.5, answer=1.0).json("/system_stats")
        assert stub.count("system_stats") == 1, "its time was over before the first try was"
        goes_on.set()


def test_a_server_that_takes_connections_alone_has_no_longer_than_another_one(monkeypatch):
    monkeypatch.setattr(comfyui_client, "ANSWER", PATIENCE)
    with Stub(system_stats=lambda: time.sleep(3) or STATS) as stub, pytest.raises(Lost, match="timed out"):
        Client(stub.url).wait_for(0.3)


def test_pictures_that_a_restart_removed_are_uploaded_once_more(crew):
    with Stub(prompt=first(400, then=SOUND["/prompt"])) as stub:
        assert crew.run(stub.url) == {"p0": ""}
        assert (stub.count("upload"), stub.count("prompt")) == (2, 2)
    with Stub(prompt=400) as stub:
        assert crew.run(stub.url) == {"p0": "No."}
        assert (stub.count("upload"), stub.count("prompt")) == (2, 2)


def cut(picture):
    return picture[: len(picture) // 2]


@pytest.mark.parametrize(
    "answer", [404, cut(PICTURE), b"", b"<html>Later.</html>"], ids=["gone", "cut off", "empty", "page"]
)
def test_a_result_that_a_restart_took_or_damaged_is_made_once_more(crew, answer):
    with Stub(view=first(answer, then=PICTURE)) as stub:
        assert crew.run(stub.url) == {"p0": ""}
        assert stub.count("prompt") == stub.count("view") == 2


def test_a_result_that_is_always_damaged_is_a_failure_of_its_pair_alone(crew, tmp_path):
    with Stub(view=first(*[cut(PICTURE)] * TRIES, then=PICTURE)) as stub:
        ended = crew.run(stub.url, count=1)
        assert f"ended {TRIES} times: What {stub.url} sent is not a readable picture" in ended["p0"]
        assert crew.run(stub.url) == {"p0": ""}


@pytest.mark.parametrize("outputs", [{}, {"2": {}}, {"2": {"images": [{}, {}]}}])
def test_another_number_of_pictures_is_a_failure(crew, outputs):
    with Stub(history={"1": {**ENTRY, "outputs": outputs}}) as stub:
        assert crew.run(stub.url)["p0"].endswith("pictures; needed is one.")


def test_a_proxys_own_page_costs_its_pair_another_try(crew):
    with Stub(prompt=first(b"<html>", then=SOUND["/prompt"])) as stub:
        assert crew.run(stub.url) == {"p0": ""}


def test_the_name_of_a_node_may_have_any_letters(crew):
    name = "Blur / Blend? \u00fc #1"
    nodes = {**NODES, "3": {"class_type": name, "inputs": {"a": ["1", 0]}}}
    nodes["2"] = {**NODES["2"], "inputs": {"images": ["3", 0]}}
    with Stub(object_info={**SOUND["/object_info"], name: {}}) as stub:
        assert crew.run(stub.url, nodes=nodes) == {"p0": ""}
        assert "/object_info/Blur%20%2F%20Blend%3F%20%C3%BC%20%231" in stub.asked


def two_servers(crew, other, sound):
    """What is told while a sound server makes a list that ends after the other one is left out."""

    def when_it_is_left_out():
        until = time.monotonic() + PATIENCE
        while many.count > 2 and time.monotonic() < until:  # of two for each server
            time.sleep(0.01)
        return SOUND["/prompt"]

    sound.answers["/prompt"] = when_it_is_left_out
    with crew.of(other, sound.url) as many:
        assert [reason for _, reason in many.run(crew.pairs(6))] == [""] * 6
        assert many.count == 2
    return crew.told


def test_a_server_that_does_not_come_is_left_out_once(crew, monkeypatch):
    monkeypatch.setattr(comfyui_client, "PATIENCE", 0.3)
    gone = f"http://127.0.0.1:{free_port()}"
    with Stub() as sound:
        assert kind_of([gone, sound.url]) == KIND
        (line,) = two_servers(crew, gone, sound)
    assert line.startswith(f"{gone} does not answer: ") and line.endswith("It is left out from now on.")


@pytest.mark.parametrize(
    ("faulty", "answer", "said"),
    [
        ("system_stats", 500, "answers with an error: HTTP Error 500"),
        ("object_info", 404, "answers with an error: HTTP Error 404"),
        ("system_stats", first(500, then={"status": "ok"}), "is no ComfyUI that tells its version"),
        ("object_info", b"<html>", "answers with what is no JSON"),
    ],
)
def test_a_server_that_answers_with_errors_is_left_out_once(crew, faulty, answer, said):
    with Stub() as sound, Stub(**{faulty: answer}) as other:
        assert kind_of([other.url, sound.url]) == KIND
        (line,) = two_servers(crew, other.url, sound)
        assert line.startswith(other.url) and said in line and line.endswith("It is left out from now on.")
        assert other.count("prompt") == 0


def test_errors_of_all_servers_are_told_with_their_addresses():
    with (
        Stub(system_stats=404) as stub,
        pytest.raises(OSError, match=f"{stub.url} answers with an error: HTTP Error 4"),
    ):
        kind_of([stub.url])


@pytest.mark.parametrize(
    "stats",
    [
        {"status": "ok"},
        [],
        b"<html>",
        {**STATS, "devices": []},
        {**STATS, "system": {"pytorch_version": "2.9"}},
    ],
)
def test_what_is_no_comfyui_is_said(crew, stats):
    said = "is no ComfyUI that tells its version, torch's and its device"
    with Stub(system_stats=stats) as stub:
        with pytest.raises(ValueError, match=f"{stub.url} {said}"):
            kind_of([stub.url])
        with pytest.raises(RuntimeError, match=f"{stub.url} {said}.* left out"):
            crew.run(stub.url)


@pytest.mark.parametrize("inputs", [{}, {"images": "none"}])
def test_a_workflow_whose_result_is_not_connected_is_refused(inputs):
    nodes = {**NODES, "2": {"class_type": "SaveImage", "inputs": inputs}}
    with pytest.raises(ValueError, match="own.json has nothing connected to the images of node 2"):
        workflow(nodes, {"scene": "Scene"}, {}, "own.json")
