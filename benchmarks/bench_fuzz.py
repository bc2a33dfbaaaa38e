"""Damaged inputs by the thousand through every reader and both doors: each is refused by name, or read right.

A fault is a raw error, an error without the file's name, a hang, memory beyond the file's need, or something read that
the file does not say. What is found is kept in benchmarks/fuzzing/cases, where a test replays it. Needs a system with
fork.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..devtools.environment import find_host
from .figures import record
from .fuzzing.readers import READERS, Reader, node_readers
from .fuzzing.trials import FAULTS, Outcome, run

INPUTS = 20_000
CASES = Path(__file__).parent / "fuzzing" / "cases"
Counts = dict[str, Any]


def in_a_process_of_its_own(work: Callable[[], Any]) -> Any:
    """The JSON that `work` gives in a forked process; None when that process died."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        with suppress(BaseException), open(writing, "w", encoding="utf-8") as pipe:
            json.dump(work(), pipe)
            code = 0
        os._exit(code)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if not status and text else None


def _plain(outcome: Outcome) -> Counts:
    inputs = {
        digest: {name: content.hex() for name, content in files.items()} for digest, files in outcome.inputs.items()
    }
    return {**vars(outcome), "inputs": inputs}


def keep(reader: str, inputs: dict[str, dict[str, str]]) -> None:
    """Write inputs that are faults where the test finds them."""
    CASES.mkdir(exist_ok=True)
    for digest, files in inputs.items():
        case = {"reader": reader, "files": files}
        (CASES / f"{digest}.json").write_text(json.dumps(case) + "\n", "utf-8")


def measure(inputs: int, seed: int, until: float) -> dict[str, Counts]:
    """What came of the inputs, by reader; those of the nodes are only there with a host."""
    table: dict[str, Counts] = {}

    def go(readers: tuple[Reader, ...], total: int) -> None:
        for reader in readers:
            count = round(inputs * reader.weight / total) + 1
            counts = in_a_process_of_its_own(lambda r=reader, n=count: _plain(run(r, n, seed, until)))
            counts = counts or {"tried": 0, "counts": {"hang": 1}, "seconds": 0.0, "faults": ["it died"], "inputs": {}}
            table[reader.name] = counts
            keep(reader.name, counts["inputs"])
            said = ", ".join(f"{number} {word}" for word, number in sorted(counts["counts"].items()))
            print(f"{reader.name}: {counts['tried']} inputs in {counts['seconds']:.0f} s: {said}", flush=True)
            for fault in counts["faults"][:5]:
                print(f"  {fault}", flush=True)

    total = sum(reader.weight for reader in READERS)
    go(READERS, total)
    host = find_host()
    if host:
        from ..devtools.inprocess import InProcess

        with tempfile.TemporaryDirectory() as base:
            go(node_readers(InProcess(host, Path(base))), total)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="over all readers (default %(default)s)")
    parser.add_argument("--minutes", type=float, help="go on with other seeds until then")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not hasattr(os, "fork"):
        sys.exit("This system has no fork; nothing is measured.")
    until = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
    seed = options.seed
    found: Counter[str] = Counter()
    tried = 0
    while True:
        table = measure(options.inputs, seed, until)
        for counts in table.values():
            found.update({word: number for word, number in counts["counts"].items() if word in FAULTS})
            tried += counts["tried"]
        seed += 1
        if not options.minutes or time.monotonic() >= until:
            break
    print(f"{tried} inputs; faults: {dict(found) or 'none'}")
    if tried < INPUTS or not any("Load" in name for name in table):
        return
    values = {
        "bad_inputs_tried": (float(tried), "damaged inputs over all readers and both doors"),
        "raw_tracebacks": (float(found["raw"]), "inputs"),
        "errors_without_a_name": (float(found["unnamed"]), "inputs"),
        "hangs": (float(found["hang"]), "inputs, over 10 s"),
        "memory_over_1_gb": (float(found["memory"]), "inputs, beyond an undamaged file's need"),
        "silent_garbage": (float(found["garbage"]), "inputs"),
    }
    for name, counts in table.items():
        values[f"seconds, {name}"] = (round(counts["seconds"], 1), f"s for {counts['tried']} inputs")
    print(record("reliability", values, "python dev.py bench fuzz"))


if __name__ == "__main__":
    main()
