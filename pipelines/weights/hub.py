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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


class FetchError(RuntimeError):
    """A file could not be fetched; the message says what happened, why, and what to do."""


@dataclass(frozen=True)
class Source:
    """A file on a hub: at `endpoint` (default: $HF_ENDPOINT), seen with `token`."""

    repository: str
    path: str
    revision: str
    endpoint: str | None = None
    token: str | bool | None = field(default=None, repr=False)

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

    remote = get_hf_file_metadata(source.url, token=source.token)
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


def resume(source: Source, part: Path, size: int | None, name: str) -> None:
    """Append to `part` what it lacks of the remote file of `size` bytes. Raises FetchError."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    done = part.stat().st_size if part.exists() else 0
    if size is not None and done > size:
        part.unlink()
        done = 0
    needed = (size or 0) - done
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise FetchError(
            f"{name} does not fit. {human_bytes(needed)} more are needed in {part.parent.parent},"
            f" {human_bytes(free)} are free. Make room, or choose another disk with --models-dir."
        )
    with part.open("ab") as file:
        http_get(
            source.url,
            file,
            resume_size=done,
            headers=build_hf_headers(token=source.token),
            expected_size=size,
            displayed_filename=name,
        )
        file.flush()
        os.fsync(file.fileno())


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
            " 'hf auth login', and run the same command again."
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
