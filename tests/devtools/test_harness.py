"""The harness itself: a real server with our pack mounted, and ComfyUI in this process."""

import io
import os

import pytest
from PIL import Image

from visual_insertion_pack.devtools import host


def picture(colour=(200, 40, 40), size=(13, 7)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def inverting(image):
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": image}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
    }


def test_a_graph_runs_and_its_picture_comes_back(server):
    entry = server.run(inverting(server.upload("red.png", picture())))
    data = server.view(entry["outputs"]["3"]["images"][0])
    result = Image.open(io.BytesIO(data))
    assert result.size == (13, 7)
    pixel = result.convert("RGB").getpixel((5, 5))
    assert pixel == pytest.approx((55, 215, 215), abs=1)  # the host rounds down when it saves


def test_messages_of_a_run_are_handed_on(server):
    events = []
    graph = inverting(server.upload("green.png", picture((0, 255, 0))))
    server.run(graph, lambda event, data: events.append((event, data)))
    executed = [data["node"] for event, data in events if event == "executing"]
    assert executed == ["1", "2", "3", None]


def test_the_pack_is_mounted_under_its_own_name(server):
    log = server.log()
    assert f"custom_nodes/{host.MOUNT}" in log.replace(os.sep, "/")
    assert "IMPORT FAILED" not in log


def test_an_unknown_node_is_refused(server):
    graph = inverting(server.upload("red.png", picture()))
    graph["2"]["class_type"] = "NoSuchNode"
    with pytest.raises(host.Refused, match="NoSuchNode"):
        server.queue(graph)


def test_a_graph_that_would_run_in_part_is_refused(server):
    graph = inverting(server.upload("red.png", picture()))
    graph["4"] = {"class_type": "PreviewImage", "inputs": {}}
    with pytest.raises(host.Refused, match="images"):
        server.queue(graph)


def test_a_node_that_raises_is_named(server):
    graph = inverting(server.upload("broken.png", picture()))
    (server.base / "input" / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(host.RunFailed, match=r"LoadImage \(node 1\)"):
        server.run(graph)


def test_a_server_that_cannot_start_says_why(home):
    with pytest.raises(host.HostError, match="no-such-flag"):
        with host.Host(home, flags=["--no-such-flag"]):
            pass


STAND_IN = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{{}}")

print({log!r}, flush=True)
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Answer).serve_forever()
"""


@pytest.fixture
def saying(tmp_path):
    """A stand-in for ComfyUI that says this in its log, then serves."""

    def saying(log):
        (tmp_path / "main.py").write_text(STAND_IN.format(log=log), "utf-8")
        return host.Host(tmp_path)

    return saying


@pytest.mark.parametrize("folder", ["/base/custom_nodes", r"C:\base\custom_nodes"])
def test_a_pack_that_cannot_be_imported_is_an_error(saying, folder):
    separator = folder[-13]
    with pytest.raises(host.HostError, match="could not import the pack"):
        with saying(f"Import times:\n   0.1 seconds (IMPORT FAILED): {folder}{separator}{host.MOUNT}\n\n"):
            pass


def test_a_stock_node_that_cannot_be_imported_is_not_ours(saying):
    with saying(f"   0.1 seconds: /custom_nodes/{host.MOUNT}\n\nIMPORT FAILED: nodes_glsl.py\n"):
        pass


def test_nodes_run_in_this_process(comfy):
    import torch

    (image,) = comfy("EmptyImage", width=8, height=4, batch_size=1, color=0xFF0000)  # old interface
    (cropped,) = comfy("ImageCrop", image=image, width=3, height=2, x=0, y=0)  # new interface
    assert cropped.shape == (1, 2, 3, 3)
    assert torch.equal(cropped[0, 0, 0], torch.tensor([1.0, 0.0, 0.0]))


def test_our_nodes_are_registered_in_this_process(comfy, server):
    ours = {
        name for name, node in server.object_info().items() if node["python_module"] == f"custom_nodes.{host.MOUNT}"
    }
    assert ours, "the server knows no node of ours"
    assert ours <= set(comfy.nodes.NODE_CLASS_MAPPINGS)
