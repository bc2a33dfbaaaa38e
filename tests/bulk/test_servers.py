"""`--servers` with real ComfyUI servers: one is killed and started anew, each picture is there once and the same."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.devtools.host import Host, free_port
from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.bulk import comfyui_client
from visual_insertion_pack.pipelines.bulk.comfyui_client import Client, Lost
from visual_insertion_pack.pipelines.commands._on_servers import SHIPPED
from visual_insertion_pack.pipelines.provenance import PNG_TEXT
from visual_insertion_pack.pipelines.whole_files import PARTS
from visual_insertion_pack.tests.bad_commands import TOYS

COUNT = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    scene = Image.open(TOYS / "samples" / "scene.png").convert("RGB")
    for number in range(3):
        scene.rotate(90 * number).save(folder / f"room{number}.png")
    edited = scene.copy()
    edited.paste((250, 20, 200), (40, 30, 80, 70))
    edited.save(folder / "edit.png")
    mask = Image.new("L", scene.size)
    mask.paste(255, (32, 24, 60, 90))
    mask.save(folder / "left.png")
    Image.open(TOYS / "samples" / "object.png").save(folder / "toy.png")
    rows = "".join(f"room{number % 3}.png,toy.png,{number}\n" for number in range(COUNT))
    (folder / "pairs.csv").write_text(f"scene,object,seed\n{rows}", encoding="utf-8")
    (folder / "restore.csv").write_text(
        "scene,edited,mask\nroom0.png,edit.png,\nroom0.png,edit.png,left.png\n", encoding="utf-8"
    )
    (folder / "paint.csv").write_text("scene,exemplar,mask,seed\nroom0.png,toy.png,left.png,5\n", encoding="utf-8")
    return folder


def run(*words):
    return main([str(word) for word in words])


def insert_on(urls, data, output, *more):
    return run("insert", "--pairs", data / "pairs.csv", "--output", output, "--steps", 3, "--servers", *urls, *more)


def pictures(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


@pytest.fixture(scope="module")
def undisturbed(server, data, tmp_path_factory):
    """The pictures of one server that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    assert insert_on([server.url], data, folder) == 0
    return folder


def test_a_server_that_is_killed_and_started_anew_loses_nothing(home, server, data, undisturbed, tmp_path):
    port = free_port()
    output = tmp_path / "out"
    ending = {}

    def disturb():
        until = time.monotonic() + 120
        while len(pictures(output)) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        second.process.kill()
        second.process.wait()
        ending["killed at"] = len(pictures(output))
        ending["again"] = Host(home, port=port, variables={"OMP_NUM_THREADS": "1"})

    with Host(home, port=port, variables={"OMP_NUM_THREADS": "1"}) as second:
        disturber = threading.Thread(target=disturb)
        disturber.start()
        try:
            assert insert_on([server.url, second.url], data, output) == 0
        finally:
            disturber.join()
            ending["again"].stop()
    assert ending["killed at"] < COUNT
    assert pictures(output) == pictures(undisturbed) and len(pictures(output)) == COUNT
    assert not list(output.rglob(f"*{PARTS}")) and not (output / "failures.jsonl").exists()


def test_a_server_that_does_not_come_holds_up_no_other_one(server, data, undisturbed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(comfyui_client, "PATIENCE", 1.0)
    gone = f"http://127.0.0.1:{free_port()}"
    assert insert_on([gone, server.url], data, tmp_path / "out") == 0
    assert pictures(tmp_path / "out") == pictures(undisturbed)
    assert insert_on([server.url], data, tmp_path / "out") == 0
    assert f"0 pictures made in {tmp_path / 'out'}, {COUNT} were there" in capsys.readouterr().out
    assert insert_on([gone], data, tmp_path / "none") == 1
    assert f"No server answers at {gone}. Start ComfyUI there" in capsys.readouterr().err


def test_a_picture_says_what_made_it(server, data, undisturbed):
    picture = Image.open(undisturbed / "room1__toy__4.png")
    record = json.loads(picture.text[PNG_TEXT])
    assert record["settings"]["seed"] == 4 and record["settings"]["steps"] == 3
    assert set(record["sha256"]) == {"workflow", "scene", "object"} and record["software"]["device"] == "cpu"
    noted = json.loads((undisturbed / "made_with.json").read_text("utf-8"))
    assert noted["server"]["comfyui"] == record["software"]["comfyui"]
    assert "prompt" not in picture.text, "the server's own notes name files of its own"


def test_the_pixels_are_those_of_the_same_nodes_asked_by_hand(server, data, undisturbed):
    graph = json.loads(_shipped("insert_object.json").read_text("utf-8"))
    graph["3"]["inputs"]["image"] = server.upload("by_hand_scene.png", (data / "room2.png").read_bytes())
    graph["4"]["inputs"]["image"] = server.upload("by_hand_object.png", (data / "toy.png").read_bytes())
    graph["5"]["inputs"]["background"] = "keep"
    graph["7"]["inputs"] |= {"seed": 2, "steps": 3}
    (image,) = server.run(graph)["outputs"]["11"]["images"]
    (data / "by_hand.png").write_bytes(server.view(image))
    made = Image.open(undisturbed / "room2__toy__2.png")
    assert made.tobytes() == Image.open(data / "by_hand.png").tobytes()
    assert made.tobytes() != Image.open(data / "room2.png").tobytes()


def _shipped(name):
    return SHIPPED / name


def difference(there, here):
    """The largest one of two picture files' values."""
    return int(np.abs(np.asarray(Image.open(there), int) - np.asarray(Image.open(here), int)).max())


def test_restored_pictures_are_those_of_the_command_but_for_how_they_are_rounded(server, data, tmp_path):
    shared = ["restore", "--pairs", data / "restore.csv"]
    assert run(*shared, "--output", tmp_path / "servers", "--servers", server.url) == 0
    assert run(*shared, "--output", tmp_path / "here") == 0
    for name in ("room0__edit.png", "room0__edit__left.png"):
        assert difference(tmp_path / "servers" / name, tmp_path / "here" / name) <= 1, "servers round down"


def test_inserted_pictures_are_nearly_those_of_the_command(server, data, undisturbed, tmp_path):
    given = ["--scene", data / "room1.png", "--object", data / "toy.png", "--seed", 1, "--steps", 3, "--device", "cpu"]
    assert run("insert", *given, "--output", tmp_path / "here.png") == 0
    apart = difference(undisturbed / "room1__toy__1.png", tmp_path / "here.png")
    print(f"levels apart: {apart}")
    assert apart <= 2


def test_painted_pictures_change_inside_their_masks(server, data, tmp_path):
    given = ["--pairs", data / "paint.csv", "--steps", 3, "--output", tmp_path / "out", "--servers", server.url]
    assert run("paint", *given) == 0
    made = Image.open(tmp_path / "out" / "room0__toy__left__5.png")
    scene = Image.open(data / "room0.png")
    outside = Image.new("RGB", scene.size)
    assert made.tobytes() != scene.tobytes()
    box = (32, 24, 60, 90)
    for picture in (made, scene):
        picture.paste(outside.crop(box), box)
    assert made.tobytes() == scene.tobytes()


def test_what_a_server_cannot_make_is_a_row_in_its_own_words(server, data, tmp_path):
    (data / "torn.png").write_bytes((data / "room0.png").read_bytes()[:300])
    Image.new("RGB", (1, 1)).save(data / "tiny.png")
    (tmp_path / "pairs.csv").write_text(
        "scene,object\nroom0.png,toy.png\ntorn.png,toy.png\nroom0.png,tiny.png\n", encoding="utf-8"
    )
    places = ["--scenes", data, "--objects", data, "--pairs", tmp_path / "pairs.csv"]
    assert insert_on([server.url], data, tmp_path / "out", *places) == 1
    rows = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text("utf-8").splitlines()]
    assert [row["scene"] for row in rows][:1] == ["torn.png"]
    assert "torn.png is not a readable picture" in rows[0]["reason"]
    assert "ObjectImageEncode (node 5): " in rows[1]["reason"] and "too small" in rows[1]["reason"]
    assert set(pictures(tmp_path / "out")) == {"room0__toy.png"}


def test_a_workflow_of_ones_own_is_run_and_checked(server, data, tmp_path, capsys):
    graph = json.loads(_shipped("insert_object.json").read_text("utf-8"))
    own = tmp_path / "own.json"
    own.write_text(json.dumps(graph), encoding="utf-8")
    assert insert_on([server.url], data, tmp_path / "out", "--workflow", own) == 0
    assert len(pictures(tmp_path / "out")) == COUNT

    def refused(message, *more, **changes):
        own.write_text(json.dumps({**graph, **changes}), encoding="utf-8")
        assert insert_on([server.url], data, tmp_path / "no", "--workflow", own, *more) == 1
        assert message in capsys.readouterr().err

    refused("has 0 Load Image nodes titled Scene", **{"3": {**graph["3"], "_meta": {"title": "Room"}}})
    refused("has 0 nodes that save the result", **{"11": graph["12"]})
    refused("is no workflow in API format", nodes=[])
    without = {**graph["2"], "inputs": {"scene_scale": 1.2}}
    refused("has no input 'object_scale' to set", "--object-scale", 3, **{"2": without})
    refused("has no node Mystery: install there", **{"2": {**graph["2"], "class_type": "Mystery"}})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--servers", "gpu1:8188"], "--servers needs addresses such as http://gpu1:8188; got gpu1:8188."),
        (["--servers", "http://a:1", "http://a:1/"], "--servers has one address twice."),
        (["--servers", "http://a:1", "--workers", "2"], "leave out --workers."),
        (["--servers", "http://a:1", "--run", "b"], "leave out --run."),
        (["--servers", "http://a:1", "--no-restore"], "leave out --no-restore."),
        (["--servers", "http://a:1", "--device", "cpu"], "leave out --device."),
        (["--workflow", "own.json"], "--workflow goes with --servers."),
    ],
)
def test_what_does_not_go_with_servers_is_said(data, tmp_path, capsys, given, message):
    assert run("insert", "--pairs", data / "pairs.csv", "--output", tmp_path / "out", *given) == 2
    assert message in capsys.readouterr().err


class Busy(BaseHTTPRequestHandler):
    """A server that is busy three times, then answers."""

    asked = 0

    def do_GET(self):
        type(self).asked += 1
        self.send_response(503 if self.asked <= 3 else 200)
        self.end_headers()
        if self.asked > 3:
            self.wfile.write(b'{"answer": 1}')

    def log_message(self, *_):
        pass


def test_a_busy_server_is_asked_again_and_a_silent_one_given_up():
    listening = HTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        assert Client(f"http://127.0.0.1:{listening.server_port}", 20.0, silence=0.0).json("/anything") == {"answer": 1}
        assert Busy.asked == 4
    finally:
        listening.shutdown()
        listening.server_close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Lost, match="does not answer"):
            Client(f"http://127.0.0.1:{taken.getsockname()[1]}", silence=0.3).json("/anything")
