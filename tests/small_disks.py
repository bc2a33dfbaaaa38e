"""Full disks as they come: a small file system, where one may be mounted."""

import shutil
import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def full_disk(folder, free: int):
    """`folder` on a file system of its own with so many bytes free; skips where that may not be mounted.

    Gives a function that makes room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here: full disks need a Linux where we are root")
    try:
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(folder).free - free))
        yield ballast.unlink
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
