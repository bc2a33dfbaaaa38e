"""`visual-insertion doctor` in a process of its own, as a user runs it: its findings, and how long it takes.

On a fresh installation, with no weights to hash: everything else is looked at, an insertion by commands and in ComfyUI,
which is started for it, included. The median of some runs is written to docs/figures/first_hour.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from ..devtools.environment import find_host
from .figures import ROOT, record

COMMAND = "python dev.py bench doctor"


def seconds_of(home: Path, models: Path) -> float:
    """How long one run took. Raises CalledProcessError for one that finds a problem."""
    started = time.monotonic()
    command = [sys.executable, "pipelines", "doctor", "--models-dir", str(models)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "COMFYUI_PATH": str(home)}, check=True)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser("dev.py bench doctor", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    with tempfile.TemporaryDirectory() as models:
        seconds = median(seconds_of(home, Path(models)) for _ in range(options.repeats))
    print(f"doctor_seconds {seconds:.1f}")
    unit = f"s, median of {options.repeats} runs on a shared machine, no weights to hash, ComfyUI started once in each"
    record("first_hour", {"doctor_seconds": (round(seconds, 1), unit)}, COMMAND)


if __name__ == "__main__":
    main()
