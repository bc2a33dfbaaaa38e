"""`--servers`: a list's pictures made by ComfyUI servers, through workflows of the pack's own nodes."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..provenance import Origin, software

if TYPE_CHECKING:
    from ..bulk.tasks import Crew
    from ..bulk.workflow import Graph

SHIPPED = Path(__file__).resolve().parents[2] / "example_workflows" / "api"
OPTIONS = {"trained": "--run"}  # whose name is not that of the argument


def option(name: str) -> str:
    """The option that gives an argument."""
    return OPTIONS.get(name, "--" + name.replace("_", "-"))


def shipped(name: str) -> Graph:
    """An example's workflow in API format."""
    from ..bulk.workflow import read_workflow

    return read_workflow(SHIPPED / name)


@dataclass(frozen=True)
class OnServers:
    """How a command's pictures come from servers: by which workflow, and what of it the command's options set.

    `name` is what the `shipped` workflow is called, where no other one is named; `titles` are those of Load Image
    nodes, by columns; `inputs` are set in any node that has them, by options. `local` options are of models here.
    """

    name: str
    shipped: Callable[[], Graph]
    titles: Mapping[str, str]
    inputs: Mapping[str, str]
    local: tuple[str, ...]

    def lack(self, args: Namespace) -> str | None:
        """What must be given or left out first, in a line."""
        from ..bulk.comfyui_client import is_url

        if not args.servers:
            return "--workflow goes with --servers." if args.workflow else None
        strange = [url for url in args.servers if not is_url(url)]
        if strange:
            return f"--servers needs addresses such as http://gpu1:8188; got {strange[0]}."
        if len({url.rstrip("/") for url in args.servers}) < len(args.servers):
            return "--servers has one address twice."
        mixed = [name for name in ("workers", "ray", *self.local) if getattr(args, name) != args.default_of(name)]
        if mixed:
            return f"--servers have models and settings of their own: leave out {option(mixed[0])}."
        return None

    def crew(
        self, args: Namespace, settings: dict[str, Any], told: Callable[[str], object]
    ) -> tuple[Crew, dict[str, Any]]:
        """Who makes the pictures, and what these depend on. Raises ValueError for a workflow that is of no use here."""
        from ..bulk.servers import crew_of_servers, kind_of
        from ..bulk.workflow import read_workflow, workflow

        name = args.workflow.name if args.workflow else self.name
        graph = read_workflow(args.workflow) if args.workflow else self.shipped()
        inputs = self._set(args)
        made_by = workflow(graph, self.titles, inputs, str(args.workflow or name))
        kind = kind_of(args.servers)
        origin = Origin({"workflow": {name: made_by.sha256}}, {**software(), **kind}, {})
        crew = crew_of_servers(
            args.servers, made_by, origin, inputs, kind, record=not getattr(args, "no_metadata", False), told=told
        )
        return crew, {**settings, "workflow": made_by.sha256, "server": kind}

    def _set(self, args: Namespace) -> dict[str, Any]:
        """Inputs that the options set: all of the shipped workflow; of another one those that are not the default."""
        given = {name: getattr(args, name) for name in self.inputs}
        if args.workflow:
            given = {name: value for name, value in given.items() if value != args.default_of(name)}
        return {self.inputs[name]: value for name, value in given.items() if value is not None}
