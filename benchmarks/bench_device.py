"""The whole pack on this machine's GPU: does all run, how far are the pictures from the CPU's, how long does it take?

    python dev.py bench device --seconds=200 --only templates doors

Each part runs in a process of its own, within its share of the time; what fails is written down and the next part
runs. Where there is no GPU the same is done on the CPU, and said. Figures go to docs/figures/device.json; found.json
in the folder of `--output`, with every traceback and beside pictures to look at, is all that was found out. Of a
machine without the history of the checkout `--output` is all that is written, and `--from` brings it home:

    python dev.py bench device --from found.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from .figures import ROOT, record, source
from .on_device.findings import Findings, best_device, machine

COMMAND = "python dev.py bench device"
SHARES = {"doors": 50, "training": 50, "true_size": 90, "templates": 70}  # parts, and how long they may take, s
OUTPUT = ROOT / "output" / "bench" / "device"


def run_part(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    """What a part found out in a process of its own."""
    command = [sys.executable, str(ROOT / "devtools" / "pack.py"), "benchmarks.bench_device"]
    command += [f"--part={name}", f"--seconds={seconds:.0f}", f"--output={folder}"]
    begun = time.monotonic()
    with (folder / f"{name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            code = process.wait(seconds + 15)
        except subprocess.TimeoutExpired:
            process.terminate()  # its hosts end with it
            try:
                code = process.wait(15) or -1
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
    file = folder / f"{name}.json"
    found: dict[str, Any] = {"figures": {}, "facts": {}, "failures": {}}
    if file.is_file():
        found = json.loads(file.read_text("utf-8"))
        file.unlink()
    if code:
        tail = (folder / f"{name}.log").read_text("utf-8", "replace")[-6000:]
        found["failures"]["the part itself"] = f"ended with {code} after {time.monotonic() - begun:.0f} s\n{tail}"
    found["facts"]["part_seconds"] = round(time.monotonic() - begun, 1)
    return found


def figures_of(parts: dict[str, Any]) -> dict[str, tuple[float, str]]:
    return {name: tuple(value) for part in parts.values() for name, value in part["figures"].items()}


def keep(found: dict[str, Any]) -> Path:
    """Write figures of found.json to docs/figures/device.json."""
    return record("device", figures_of(found["parts"]), COMMAND, found["source"])


def main() -> int:
    parser = argparse.ArgumentParser("bench_device", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=sum(SHARES.values()), help="in all (default %(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(SHARES), default=list(SHARES))
    parser.add_argument("--output", type=Path, help="write there, and leave docs/figures alone")
    parser.add_argument("--commit", default="", help="what is measured, where git does not say")
    parser.add_argument("--from", type=Path, nargs="+", dest="found", metavar="FILE", help="only record these")
    parser.add_argument("--part", choices=list(SHARES), help="one part, in this process (for the processes)")
    options = parser.parse_args()
    folder = (options.output or OUTPUT).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if options.part:
        measure: Callable[[Findings], None] = import_module(f".on_device.{options.part}", __package__).measure
        measure(Findings(folder, options.part, options.seconds))
        return 0

    if options.found:
        for file in options.found:
            print(keep(json.loads(file.read_text("utf-8"))))
        return 0

    print(machine(), flush=True)
    if best_device() == "cpu":
        print("There is no GPU here: everything below computes on the CPU.", flush=True)
    ends = time.monotonic() + options.seconds
    parts: dict[str, Any] = {}
    for number, name in enumerate(options.only):
        rest = sum(SHARES[other] for other in options.only[number:])
        seconds = max(1.0, (ends - time.monotonic()) * SHARES[name] / rest)
        parts[name] = run_part(name, folder, seconds)
        print(f"{name}: {len(parts[name]['figures'])} figures, {len(parts[name]['failures'])} failures", flush=True)
        for what, text in parts[name]["failures"].items():
            print(f"  FAILED {what}: {text.strip().splitlines()[-1][:160] if text.strip() else ''}", flush=True)
        whole = {"source": source(COMMAND, options.commit), "machine": machine(), "parts": parts}
        (folder / "found.json").write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    for name, (value, unit) in figures_of(parts).items():
        print(f"{name:64}{value:12.5g}  {unit}")
    if not options.output:
        print(keep(whole))
    return int(any(part["failures"] for part in parts.values()))


if __name__ == "__main__":
    sys.exit(main())
