"""Every toy template in every host of devtools/releases.py: does it run, and is its picture the newest host's?

Writes docs/hosts.md and the figure `hosts_passed`; with `--check` nothing. Ends with an error if one fails.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..devtools.demo import saved_image
from ..devtools.environment import fetched, find_release, host_requirements, missing
from ..devtools.host import Graph, Host, HostError
from ..devtools.releases import FRONT_END, HOSTS, NEWEST, Release
from ..pipelines.whole_files import write_text
from .figures import ROOT, record

COMMAND = "python dev.py bench hosts"
GRAPHS = ROOT / "example_workflows" / "api"
PAGE = ROOT / "docs" / "hosts.md"


@dataclass(frozen=True)
class Outcome:
    """What one template came to in one host."""

    picture: np.ndarray | None = None
    error: str = ""

    def against(self, newest: Outcome) -> str:
        """The cell of the table: 'same', or what is not."""
        if self.picture is None or newest.picture is None:
            return self.error or "runs"
        if self.picture.shape != newest.picture.shape:
            return "another size"
        difference = int(np.abs(self.picture.astype(int) - newest.picture).max())
        return f"differs by {difference} of 255" if difference else "same"


@dataclass(frozen=True)
class Visit:
    """One host: what each template came to, what its requirements name that is not installed, how long it took."""

    outcomes: dict[str, Outcome]
    absent: list[str]
    seconds: float


def toy_graphs() -> dict[str, Graph]:
    texts = {path.stem: path.read_text("utf-8") for path in sorted(GRAPHS.glob("*.json"))}
    return {name: json.loads(text) for name, text in texts.items() if "PlayroomModels" in text}


def visit(release: Release, graphs: dict[str, Graph]) -> Visit:
    started = time.monotonic()
    home = fetched(release)
    try:
        with Host(home, variables={"OMP_NUM_THREADS": "1"}) as host:
            outcomes = {name: outcome(host, graph) for name, graph in graphs.items()}
    except HostError as error:
        outcomes = dict.fromkeys(graphs, Outcome(error=first_line(error)))
    return Visit(outcomes, missing(host_requirements(home)), time.monotonic() - started)


def outcome(host: Host, graph: Graph) -> Outcome:
    try:
        image = saved_image(graph, host.run(graph))
    except HostError as error:
        return Outcome(error=first_line(error))
    return Outcome(np.asarray(Image.open(io.BytesIO(host.view(image))).convert("RGB")))


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].replace("|", "/")


def page(visits: dict[Release, Visit], cells: dict[Release, dict[str, str]]) -> str:
    """docs/hosts.md."""
    versions = [release.version for release in visits]
    rows = [["template", *versions], ["---"] * (len(versions) + 1)]
    for name in cells[NEWEST]:
        rows.append([f"`{name}`", *(cells[release][name] for release in visits)])
    rows.append(["not installed, though asked for", *(", ".join(one.absent) or "-" for one in visits.values())])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    sources = "\n".join(f"| {release.version} | `{release.package}` | `{release.sha256}` |" for release in visits)
    return f"""# The hosts

Written by `{COMMAND}`, which runs every template that has toy models in every ComfyUI of
[devtools/releases.py](../devtools/releases.py), on the CPU. *Same*: the picture is {NEWEST.version}'s, bit for bit.

{table}

{versions[0]} is the floor, {NEWEST.version} the newest ComfyUI that could be had where this was measured. All run with
the Python packages that {NEWEST.version} asks for. What an older one asks for beyond these is in the last row; only
stock nodes need it. `python dev.py test --host {versions[0]}` runs the tests of the nodes in one of them.

In the front end that {NEWEST.version} brings, every template is opened and run; in the newest, {FRONT_END.version},
every template loads without a missing node (`tests/browser`).

## Where they come from

ComfyUI is no package; these source distributions of the package index carry it whole.

| ComfyUI | package | SHA-256 of its source distribution |
|---|---|---|
{sources}
"""


def main() -> int:
    parser = argparse.ArgumentParser("dev.py bench hosts", description=__doc__)
    parser.add_argument("--check", nargs="*", metavar="VERSION", help="write nothing; with versions: only these")
    options = parser.parse_args()
    hosts = [*map(find_release, options.check), NEWEST] if options.check else HOSTS
    graphs = toy_graphs()
    visits = {}
    for release in dict.fromkeys(hosts):
        visits[release] = visit(release, graphs)
        print(f"ComfyUI {release.version}: {visits[release].seconds:.0f} s", flush=True)
    newest = visits[NEWEST].outcomes
    cells = {}
    for release, one in visits.items():
        cells[release] = {name: one.outcomes[name].against(newest[name]) for name in graphs}
        wrong = {name: cell for name, cell in cells[release].items() if cell != "same"}
        print(f"ComfyUI {release.version}: {wrong or 'every template runs and makes the same picture'}")
    passed = sum(set(of_host.values()) == {"same"} for of_host in cells.values())
    if options.check is None:
        write_text(PAGE, page(visits, cells))
        unit = f"of {len(HOSTS)} hosts, in which all {len(graphs)} toy templates run and make the newest's pictures"
        record("reliability", {"hosts_passed": (passed, unit)}, COMMAND)
    return int(passed < len(visits))


if __name__ == "__main__":
    raise SystemExit(main())
