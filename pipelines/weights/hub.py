"""One file from a Hugging Face repository: announced, resumed, and every failure in plain words.

`huggingface_hub` is imported when something is fetched. Its hf_hub_download would not do: since
version 2 it throws away what it has when it is cut, so we keep the part file and call its http_get.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any, TypeVar

T = TypeVar("T")
HUB = "https://huggingface.co"
PATIENCE = 300.0  # seconds without a byte, of which http_get hands on 10 MB at a time


class FetchError(RuntimeError):
    """A file could not be fetched; the message says what happened, why, and what to do."""


class TooLong(FetchError):
    """More came than was announced."""


@dataclass(frozen=True)
class Source:
    """A file on a hub: at `endpoint` (default: $HF_ENDPOINT), seen with `token` (default: see `login`)."""

    repository: str
    path: str
    revision: str
    endpoint: str | None = None
    token: str | bool | None = field(default=None, repr=False)

    @property
    def login(self) -> str | bool | None:
        """The token for this server: as given, or else one's own for the Hugging Face hub, and none for a mirror."""
        server = self.endpoint or os.environ.get("HF_ENDPOINT") or HUB
        return False if self.token is None and server.rstrip("/") != HUB else self.token

    @property
    def url(self) -> str:
        """Where the hub serves it."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repository, self.path, revision=self.revision, endpoint=self.endpoint)


@dataclass(frozen=True)
class Remote:
    """What the hub announces: size in bytes, sha256 (of large files), a tag for this content."""

    size: int | None
    sha256: str | None
    tag: str


def human_bytes(size: float) -> str:
    """A size in bytes for people, in decimal units as hubs show it: `7.70 GB`."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def look(source: Source) -> Remote:
    """Ask the hub about a file without fetching it."""
    from huggingface_hub import get_hf_file_metadata

    remote = _patiently(lambda: get_hf_file_metadata(source.url, token=source.login))
    etag = remote.etag or ""
    sha256 = etag if re.fullmatch("[0-9a-f]{64}", etag) else None
    return Remote(remote.size, sha256, hashlib.sha256(etag.encode()).hexdigest()[:12])


@contextmanager
def part_file(destination: Path, remote: Remote) -> Iterator[Path]:
    """Where to gather a file until it is whole: in a folder of its own beside its destination.

    One process at a time. The path stays the same as long as the remote content does, so that a
    download that was cut goes on (a file of `whole_files` starts anew); a part of other content is
    removed, and so is the folder when no part is left.
    """
    from huggingface_hub.utils import WeakFileLock

    folder = destination.with_name(f".{destination.name}.part")
    lock = destination.with_name(f".{destination.name}.lock")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        try:
            folder.mkdir(exist_ok=True)
            part = folder / f"{remote.tag}.part"
            for stale in set(folder.iterdir()) - {part}:
                stale.unlink()
            yield part
        finally:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
            lock.unlink(missing_ok=True)


class Arriving:
    """A part file for http_get to write to: never longer than `most` bytes, and what was there before is not lost.

    Where the server starts over, its bytes are gathered in a file of their own, which takes the part's place when it
    is whole: a log-in page in answer to the last megabyte must not cost the gigabytes before it.
    """

    def __init__(self, part: Path, most: int, name: str):
        self.part = part
        self.anew = part.with_suffix(".anew")
        self.most = most
        self.name = name
        self.received = 0
        self.starts_over = False
        self.file = part.open("ab")
        self.before = self.file.tell()

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, *_: int) -> int:
        return self.file.tell()  # http_get goes back only in order to truncate

    def truncate(self) -> int:
        """The server begins anew."""
        _check_room(self.most, self.part, self.name)
        self.file.close()
        self.file = self.anew.open("wb")
        self.starts_over = True
        return 0

    def write(self, piece: bytes) -> int:
        if self.file.tell() + len(piece) > self.most:
            raise TooLong(
                f"{self.name} did not arrive. The server sends more than the {human_bytes(self.most)} it announced, "
                f"which was thrown away. Try another network or mirror; to begin anew, delete {self.part.parent}."
            )
        self.received += len(piece)
        return self.file.write(piece)

    def flush(self) -> None:
        self.file.flush()

    def close(self, keep: bool) -> None:
        """End the file; unless its new bytes are to `keep`, it is as it was."""
        with self.file:
            self.file.flush()
            if not keep and not self.starts_over:
                self.file.truncate(self.before)
            os.fsync(self.file.fileno())
        if self.starts_over and keep:
            os.replace(self.anew, self.part)
        self.anew.unlink(missing_ok=True)


def resume(source: Source, part: Path, size: int | None, name: str, most: int) -> None:
    """Append to `part` what it lacks of the remote file of `size` bytes, at `most` so many. Raises FetchError.

    A connection that is cut leaves what has arrived; an answer of another length leaves the part as it was.
    """
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    done = part.stat().st_size if part.exists() else 0
    if done > most:
        part.unlink()
        done = 0
    _check_room((size or 0) - done, part, name)
    if done == size:
        return
    headers = build_hf_headers(token=source.login) | {"Accept-Encoding": "identity"}
    arriving = Arriving(part, most, name)
    try:
        _patiently(
            lambda: http_get(
                source.url,
                arriving,  # pyright: ignore[reportArgumentType]  # as much of a file as it needs
                resume_size=done,
                headers=headers,
                expected_size=size,
                displayed_filename=name,
            ),
            lambda: arriving.received,
        )
    except BaseException as error:
        # What came of the file before the connection broke is kept, and an answer of another length is not.
        another = isinstance(error, TooLong) or MISMATCH in str(error)
        with suppress(OSError):  # the first error is the one to tell
            arriving.close(keep=not another and not arriving.starts_over)
        raise
    arriving.close(keep=True)


MISMATCH = "Consistency check failed"  # how http_get's error begins when all that was sent has another length


def _check_room(needed: int, part: Path, name: str) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise FetchError(
            f"{name} does not fit. {human_bytes(needed)} more are needed in {part.parent.parent},"
            f" {human_bytes(free)} are free. Make room, or choose another disk with --models-dir."
        )


def _patiently(work: Callable[[], T], arrived: Callable[[], int] = lambda: 0) -> T:
    """What `work` gives. Raises FetchError when nothing has `arrived` for PATIENCE seconds.

    huggingface_hub sleeps as long as a server tells it to, and reads as long as a byte comes now and then; so it works
    in a thread of its own, which is left behind.
    """
    ended: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        try:
            ended.append((work(), None))
        except BaseException as error:
            ended.append((None, error))

    thread = Thread(target=run, daemon=True)
    thread.start()
    before = arrived()
    since = monotonic()
    while not ended:
        thread.join(0.1)
        if arrived() != before:
            before = arrived()
            since = monotonic()
        elif monotonic() - since > PATIENCE and not ended:
            raise FetchError(
                f"Nothing has arrived for {PATIENCE:g} seconds. The server stalls, or wants us to wait for longer. Run "
                "the same command again later: it goes on where it stopped."
            )
    value, error = ended[0]
    if error is not None:
        raise error
    return value


@contextmanager
def explained(source: Source, destination: Path) -> Iterator[None]:
    """Turn whatever the hub library, the network or the disk raises into one clear FetchError."""
    try:
        yield
    except FetchError:
        raise
    except Exception as error:
        raise FetchError(_explain(error, source, destination)) from error


def _explain(error: Exception, source: Source, destination: Path) -> str:
    """What happened, why, and what to do."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    number = getattr(error, "errno", None)
    name, folder = destination.name, destination.parent
    again = "run the same command again: it goes on where it stopped"
    by_hand = f"put the file at {destination} by hand"
    if isinstance(error, ImportError):
        return (
            f"{name} cannot be fetched. huggingface_hub is not usable in this Python ({error})."
            f" Install it: {sys.executable} -m pip install huggingface_hub"
        )
    if status in (401, 403):
        return (
            f"{source.repository} does not give out {source.path} (HTTP {status}). It is gated,"
            " private or gone. Open its page, accept its terms if it asks, log in with"
            " 'hf auth login', and run the same command again; a mirror is told your token with"
            " --send-token only."
        )
    if status == 404:
        return (
            f"{source.repository} has no {source.path} at revision {source.revision} (HTTP 404). It"
            f" was moved or deleted. Look for a newer version of this pack, or {by_hand}."
        )
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"{name} did not arrive. The disk of {folder} is full. Make room and {again}."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{name} cannot be fetched. {folder} refuses ({error}). Make it readable and writable,"
            " or choose another folder with --models-dir."
        )
    if type(error).__name__ == "OfflineModeIsEnabled":
        return (
            f"{name} cannot be fetched. HF_HUB_OFFLINE forbids the network. Unset it, or get it"
            f" from {source.repository} elsewhere and {by_hand}."
        )
    server = source.endpoint or os.environ.get("HF_ENDPOINT") or "the Hugging Face hub"
    reason = f"HTTP {status}" if status else str(error).strip() or type(error).__name__
    return (
        f"{name} did not arrive. The connection to {server} failed ({reason}). Check the"
        f" network, proxy or mirror (HF_ENDPOINT) and {again}."
    )
