"""Two hundred runs of a template in one server, with models unloaded between some: does its memory stay flat?"""

from __future__ import annotations

import argparse
import json

import psutil

from ..devtools.environment import find_host
from ..devtools.host import Host
from .bench_hosts import GRAPHS
from .figures import record

RUNS = 200
SETTLED = 20  # runs after which a server has loaded what it will
UNLOADED_EVERY = 10  # runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    graph = json.loads((GRAPHS / "insert_object.json").read_text("utf-8"))
    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    megabytes = []
    with Host(home, variables={"OMP_NUM_THREADS": "1"}) as host:
        server = psutil.Process(host.process.pid)
        for number in range(options.runs):
            for node in graph.values():
                if "seed" in node["inputs"]:
                    node["inputs"]["seed"] = number  # or the host would give back the picture before
            host.run(graph)
            if number % UNLOADED_EVERY == 0:
                host.post("/free", {"unload_models": True, "free_memory": True})
            megabytes.append(server.memory_info().rss / 1e6)
            if number % 20 == 0:
                print(f"run {number}: {megabytes[-1]:.0f} MB, {server.num_threads()} threads", flush=True)
    settled = sorted(megabytes[SETTLED : 2 * SETTLED])
    last = sorted(megabytes[-SETTLED:])
    growth = last[len(last) // 2] - settled[len(settled) // 2]  # of medians
    print(f"grown by {growth:.1f} MB between runs {SETTLED} and {options.runs}")
    if options.runs >= RUNS:
        unit = f"MB of resident memory, over {options.runs} runs of insert_object in one server"
        print(record("reliability", {"soak_rss_growth_mb": (round(growth, 1), unit)}, "python dev.py bench soak"))


if __name__ == "__main__":
    main()
