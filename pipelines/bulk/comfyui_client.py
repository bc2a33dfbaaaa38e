"""A ComfyUI server that is somewhere: its plain HTTP API, asked again with longer and longer waits where it is busy."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

FIRST_WAIT = 0.2  # s; twice as long each time
LONGEST_WAIT = 20.0
BUSY = (429, 502, 503, 504)  # what a proxy in front of it says as well
ANSWER = 120  # s in which a server must answer a request; runs are not waited for in one
PLACE = "temp"  # where pictures are uploaded: the server empties it when it ends
UNANSWERED = (URLError, ConnectionError, TimeoutError, HTTPException)


class Lost(RuntimeError):
    """A server that does not answer any more, or has forgotten what it was told to make."""


class NotMade(ValueError):
    """What the server says of a graph that it refuses, or that fails."""


def waits(patience: float) -> Iterator[None]:
    """Sleep longer and longer, and end after `patience` seconds."""
    ends = time.monotonic() + patience
    wait = FIRST_WAIT
    while time.monotonic() < ends:
        time.sleep(min(wait, max(0.0, ends - time.monotonic())))
        wait = min(2 * wait, LONGEST_WAIT)
        yield


class Client:
    """One server. Methods raise Lost where it does not answer within `patience` seconds."""

    def __init__(self, url: str, patience: float = 10.0):
        self.url = url.rstrip("/")
        self.patience = patience

    def ask(self, path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        """What it answers. Raises HTTPError for an error of what is asked."""
        trying = waits(self.patience)
        while True:
            try:
                request = Request(self.url + path, data, {"Content-Type": kind} if data is not None else {})
                with urlopen(request, timeout=ANSWER) as reply:
                    return reply.read()
            except HTTPError as error:
                if error.code not in BUSY:
                    raise
                reason: Exception = error
            except UNANSWERED as error:
                reason = error
            if next(trying, "no more"):
                raise Lost(f"{self.url} does not answer: {reason}.") from reason

    def json(self, path: str, body: Any = None) -> Any:
        """The same of JSON."""
        return json.loads(self.ask(path, None if body is None else json.dumps(body).encode()))

    def upload(self, name: str, content: bytes) -> str:
        """Give it a picture; the name that Load Image knows it by. One that it has already is not written again."""
        boundary = uuid.uuid4().hex
        body = b""
        for head, part in (
            (f'name="image"; filename="{name}"\r\nContent-Type: application/octet-stream', content),
            ('name="type"', PLACE.encode()),
        ):
            body += f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + part + b"\r\n"
        body += f"--{boundary}--\r\n".encode()
        reply = json.loads(self.ask("/upload/image", body, f"multipart/form-data; boundary={boundary}"))
        return f"{reply['name']} [{PLACE}]"

    def run(self, graph: Mapping[str, Any], result: str) -> bytes:
        """Queue a graph and wait: the file of its `result` node. Raises NotMade with the server's own words."""
        try:
            reply = self.json("/prompt", {"prompt": graph})
        except HTTPError as error:
            raise NotMade(refusal(error.read())) from None
        if reply["node_errors"]:
            raise NotMade(refusal(json.dumps(reply).encode()))
        entry = self._ended(reply["prompt_id"])
        if entry["status"]["status_str"] != "success":
            raise NotMade(failure(entry))
        (image,) = entry["outputs"][result]["images"]
        return self.ask(f"/view?{urlencode(image)}")

    def _ended(self, prompt: str) -> dict[str, Any]:
        """What the server says of a prompt when it has ended. Raises Lost where it does not know of it any more."""
        began = time.monotonic()
        while True:
            history = self.json(f"/history/{prompt}")
            if prompt in history:
                return history[prompt]
            if not self._is_queued(prompt) and prompt not in self.json(f"/history/{prompt}"):
                raise Lost(f"{self.url} has forgotten what it was told to make: it was started anew.")
            time.sleep(min(1.0, 0.02 + (time.monotonic() - began) / 10))  # late by a tenth at most

    def _is_queued(self, prompt: str) -> bool:
        queue = self.json("/queue")
        return any(entry[1] == prompt for entry in [*queue["queue_running"], *queue["queue_pending"]])

    def wait_for(self, patience: float) -> dict[str, str]:
        """Wait until it answers: what pictures depend on beside the graph. Raises Lost after `patience` seconds."""
        stats = json.loads(Client(self.url, patience).ask("/system_stats"))
        system = stats["system"]
        return {
            "comfyui": str(system["comfyui_version"]),
            "torch": str(system["pytorch_version"]),
            "device": str(stats["devices"][0]["type"]),
        }


def refusal(content: bytes) -> str:
    """The server's words for a graph that it did not take, one line for each node."""
    try:
        reply = json.loads(content)
        lines = [(reply.get("error") or {}).get("message") or "The server refused the workflow"]
        for number, node in (reply.get("node_errors") or {}).items():
            lines += [
                f"{node['class_type']} (node {number}): {error['message']}: {error['details']}"
                for error in node["errors"]
            ]
    except (ValueError, AttributeError, KeyError, TypeError):
        return f"The server refused the workflow: {content[:500].decode('utf-8', 'replace')}"
    return "; ".join(lines)


def failure(entry: Mapping[str, Any]) -> str:
    """The server's words for a run that failed."""
    for event, data in reversed(entry["status"].get("messages") or []):
        if event == "execution_error":
            where = f"{data.get('node_type')} (node {data.get('node_id')})"
            return f"{where}: {str(data.get('exception_message')).strip()}"
    return "The run was interrupted on the server."


def is_url(text: str) -> bool:
    """Whether a text is the address of a server."""
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname)
