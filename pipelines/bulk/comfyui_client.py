"""A ComfyUI server that is somewhere: its plain HTTP API, asked again with longer and longer waits where it is busy."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

FIRST_WAIT = 0.2  # s; twice as long each time
LONGEST_WAIT = 20.0
PATIENCE = 600.0  # s in which a server that is busy must have time, and one that went must be back
SILENCE = 10.0  # s after which one that is silent has gone: its pairs are others' then
BUSY = (429, 502, 503, 504)  # what a proxy in front of it says as well
ANSWER = 120  # s in which a server must answer a request; runs are not waited for in one
PLACE = "temp"  # where pictures are uploaded: the server empties it when it ends
UNANSWERED = (URLError, ConnectionError, TimeoutError, HTTPException)


class Lost(RuntimeError):
    """A server that does not answer any more, or has forgotten what it was told to make."""


class NotMade(ValueError):
    """What the server says of a graph that it refuses, or that fails."""


class Refused(NotMade):
    """What it says of a graph that it does not take at all."""


class NotKnown(ValueError):
    """An address at which something answers that is no ComfyUI we know."""


class Client:
    """One server. Methods raise Lost where it is silent for `silence` seconds, or busy for `patience`."""

    def __init__(
        self, url: str, patience: float | None = None, silence: float | None = None, answer: float | None = None
    ):
        """Each answer is waited for `answer` seconds. What is None is PATIENCE, SILENCE or ANSWER as they are now."""
        self.url = url.rstrip("/")
        self.patience = PATIENCE if patience is None else patience
        self.silence = SILENCE if silence is None else silence
        self.answer = ANSWER if answer is None else answer

    def ask(self, path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        """What it answers. Raises HTTPError for an error of what is asked."""
        began = heard = time.monotonic()
        wait = FIRST_WAIT
        while True:
            try:
                request = Request(self.url + path, data, {"Content-Type": kind} if data is not None else {})
                with urlopen(request, timeout=self.answer) as reply:
                    return reply.read()
            except HTTPError as error:
                if error.code not in BUSY:
                    raise
                reason: Exception = error
                heard = time.monotonic()
                ends = began + self.patience
            except UNANSWERED as error:
                reason = error
                ends = heard + self.silence
            left = ends - time.monotonic()
            if left <= 0:
                raise Lost(f"{self.url} does not answer: {reason}.") from reason
            time.sleep(min(wait, left))
            wait = min(2 * wait, LONGEST_WAIT)

    def json(self, path: str, body: Any = None) -> Any:
        """The same of JSON. Raises Lost where it is none: a proxy's own page, say."""
        return self._read(path, self.ask(path, None if body is None else json.dumps(body).encode()))

    def _read(self, path: str, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError as error:
            raise Lost(f"{self.url}{path} answers with what is no JSON.") from error

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
        path = "/upload/image"
        reply = self._read(path, self.ask(path, body, f"multipart/form-data; boundary={boundary}"))
        return f"{reply['name']} [{PLACE}]"

    def run(self, graph: Mapping[str, Any], result: str) -> bytes:
        """Queue a graph and wait: the file of its `result` node. Raises NotMade with the server's own words.

        That is Refused for a graph that is not queued.
        """
        try:
            reply = self.json("/prompt", {"prompt": graph})
        except HTTPError as error:
            raise Refused(refusal(error.read())) from None
        if reply.get("node_errors"):
            raise Refused(refusal(json.dumps(reply).encode()))
        entry = self._ended(reply["prompt_id"])
        if entry["status"]["status_str"] != "success":
            raise NotMade(failure(entry))
        images = entry["outputs"].get(result, {}).get("images", [])
        if len(images) != 1:
            raise NotMade(f"The workflow made {len(images)} pictures; needed is one.")
        try:
            return self.ask(f"/view?{urlencode(images[0])}")
        except HTTPError as error:
            if error.code != 404:
                raise
            raise Lost(f"{self.url} has no more what it has made: it was started anew.") from error

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
        """Wait until it answers: what pictures depend on beside the graph. Raises Lost after `patience` seconds.

        Raises NotKnown for anything but a ComfyUI, and HTTPError.
        """
        content = Client(self.url, patience, patience, min(patience, LONGEST_WAIT)).ask("/system_stats")
        try:
            stats = json.loads(content)
            system = stats["system"]
            return {
                "comfyui": str(system["comfyui_version"]),
                "torch": str(system["pytorch_version"]),
                "device": str(stats["devices"][0]["type"]),
            }
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise NotKnown(
                f"{self.url} is no ComfyUI that tells its version, torch's and its device. See that the address is "
                "right, and update ComfyUI there, or leave it out."
            ) from error


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
