"""A mirror of the house's habits: what a reader stumbles over in pipelines/, nodes/ and devtools/, counted. No gate.

python devtools/house.py [--root=CHECKOUT] [--write=before|after]

Rates are per 1,000 lines that are not blank; docstrings and comments are lines too. Everything is read from the syntax
and nothing is imported, so that any checkout can be measured. `--write` records into docs/figures/house.json here.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"": "", "pipelines_": "pipelines/", "nodes_": "nodes/", "devtools_": "devtools/"}  # by the figures' prefix

# The systems, each a room of pipelines/, and which may import which because its method says so. A toy model lies in a
# room of the playroom that is named as its system; whatever else is in the playroom serves all of them.
SYSTEMS = {"visual_insertion", "paint_by_example", "object_representation", "add_it", "baselines", "playroom"}
ALLOWED = {
    ("baselines", "visual_insertion"),
    ("baselines", "paint_by_example"),
    ("object_representation", "paint_by_example"),
    ("object_representation", "visual_insertion"),  # the same learning without a mask
    ("playroom", "visual_insertion"),
    ("playroom/visual_insertion", "visual_insertion"),
    ("playroom/visual_insertion", "baselines"),  # the ablation
    ("playroom/paint_by_example", "paint_by_example"),
    ("playroom/add_it", "add_it"),
}

RATES = ("tuple_assignments", "walrus", "nested_comprehensions", "long_calls", "any", "helpers_with_one_caller")
ONE_THING = [  # names that one assignment may bind together
    *({"q", "k", "v"}, {"query", "key", "value"}, {"height", "width"}, {"rows", "columns"}, {"row", "column"}),
    *({"x", "y"}, {"dx", "dy"}, {"x0", "y0", "x1", "y1"}, {"left", "top", "right", "bottom"}),
    *({"low", "high"}, {"start", "end"}, {"start", "stop"}, {"mean", "std"}, {"mean", "deviation"}),
]
SAME_LINES = 6
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
BRANCH = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case, ast.Assert)

Sources = dict[str, str]  # text by path
Trees = dict[str, ast.Module]  # syntax tree by path
Graph = dict[str, set[str]]  # imported paths by importing path
Figures = dict[str, tuple[float, str]]  # value and unit by name


def habits(tree: ast.AST) -> Iterator[str]:
    """What the nodes of a syntax tree show, one name for each place.

    tuple_assignments: see `is_tuple_assignment`.
    walrus: every `:=`.
    nested_comprehensions: a comprehension with two `for`, or with another one anywhere inside (the outer one counts).
    long_calls: five or more positional arguments; a starred one is one argument.
    any: `Any` wherever it is used, in annotations, aliases of types and casts; its import is no use.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and is_tuple_assignment(node):
            yield "tuple_assignments"
        elif isinstance(node, ast.NamedExpr):
            yield "walrus"
        elif isinstance(node, COMPREHENSION) and len(nodes(node, ast.comprehension)) > 1:
            yield "nested_comprehensions"
        elif isinstance(node, ast.Call) and len(node.args) >= 5:
            yield "long_calls"
        elif isinstance(node, ast.Name | ast.Attribute) and name_of(node) == "Any":
            yield "any"


def is_tuple_assignment(node: ast.Assign) -> bool:
    """`a, b = x, y` unless the names' last words are one thing (image_mean, image_std), and always the unpacking of a
    generator or list comprehension. Unpacking a name, a call or an attribute is none: `height, width = image.shape`."""
    targets = [target for target in node.targets if isinstance(target, ast.Tuple)]
    if isinstance(node.value, ast.Tuple):
        return not all(map(is_one_thing, targets))
    return bool(targets) and isinstance(node.value, ast.GeneratorExp | ast.ListComp)


def is_one_thing(target: ast.Tuple) -> bool:
    last_words = {name_of(element).split("_")[-1] for element in target.elts}
    return any(last_words <= family for family in ONE_THING)


def name_of(node: ast.AST) -> str:
    """The name of a variable, an attribute or a function; empty for other nodes."""
    return getattr(node, "id", "") or getattr(node, "attr", "") or getattr(node, "name", "")


def nodes(tree: ast.AST, kind: type | tuple[type, ...]) -> list:
    return [node for node in ast.walk(tree) if isinstance(node, kind)]


def helpers_with_one_caller(trees: Trees) -> Counter[str]:
    """How many functions and methods named _x are used at exactly one place, by the path that defines them.

    A use is the name, called or handed on, in the same file or in one that imports that file and defines no such name
    itself. Only names are compared: methods of one name in one file are one helper, and recursion is a second use.
    """
    used = {path: Counter(map(name_of, nodes(tree, (ast.Name, ast.Attribute)))) for path, tree in trees.items()}
    defined = {path: set(map(name_of, nodes(tree, FUNCTION))) for path, tree in trees.items()}
    graph = import_graph(trees)
    helpers = Counter()
    for path, names in defined.items():
        importers = [importer for importer in trees if path in graph[importer]]
        for name in names:
            if re.match("_[^_]", name):
                elsewhere = sum(used[importer][name] for importer in importers if name not in defined[importer])
                helpers[path] += used[path][name] + elsewhere == 1
    return helpers


def branches(function: ast.AST) -> int:
    """One, and one for each if, loop, except, case and assert, for each further operand of `and` and `or`, and for each
    `for` and `if` of a comprehension. What is defined inside a function counts for it too."""
    operands = sum(len(node.values) - 1 for node in nodes(function, ast.BoolOp))
    in_comprehensions = sum(1 + len(node.ifs) for node in nodes(function, ast.comprehension))
    return 1 + len(nodes(function, BRANCH)) + operands + in_comprehensions


def branching_functions(trees: Trees) -> list[tuple[int, str]]:
    """Functions and methods as (branches, "path:line name"), the most branching first."""
    functions = []
    for path, tree in trees.items():
        functions += [(branches(node), f"{path}:{node.lineno} {node.name}") for node in nodes(tree, FUNCTION)]
    return sorted(functions, reverse=True)


def duplicated_places(sources: Sources) -> list[tuple[str, str]]:
    """Pairs of places, as their paths, that share six or more equal lines in a row.

    Indentation, blank lines, lines of comment or punctuation alone and imports are left out. A longer stretch is one
    pair; three equal places are three pairs.
    """
    lines = {path: compared_lines(text) for path, text in sources.items()}
    windows = defaultdict(list)
    for path, own in lines.items():
        for start in range(len(own) - SAME_LINES + 1):
            windows[tuple(own[start : start + SAME_LINES])].append((path, start))
    pairs = []
    for places in windows.values():
        for (path, start), (other_path, other_start) in combinations(places, 2):
            line_before = lines[path][max(start - 1, 0) : start]
            continues = line_before and line_before == lines[other_path][max(other_start - 1, 0) : other_start]
            overlaps = path == other_path and other_start - start < SAME_LINES
            if not continues and not overlaps:
                pairs.append((path, other_path))
    return pairs


def compared_lines(text: str) -> list[str]:
    imports = set()
    for node in nodes(ast.parse(text), (ast.Import, ast.ImportFrom)):
        imports.update(range(node.lineno, node.end_lineno + 1))
    lines = [line.strip() for number, line in enumerate(text.split("\n"), 1) if number not in imports]
    return [line for line in lines if re.search(r"\w", line) and not line.startswith("#")]


def import_graph(trees: Trees) -> Graph:
    """The files that each file imports relatively, be it in a function or for type checking alone.

    `from .package import name` is an import of the package's `__init__.py` only if no module has that name.
    """
    graph = {path: set() for path in trees}
    for path, tree in trees.items():
        for node in nodes(tree, ast.ImportFrom):
            if node.level:
                module = PurePosixPath(path).parents[node.level - 1] / (node.module or "").replace(".", "/")
                for name in (module / alias.name for alias in node.names):
                    files = (f"{name}.py", f"{name}/__init__.py", f"{module}.py", f"{module}/__init__.py")
                    graph[path].update([file for file in files if file in trees][:1])
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """Files that import each other in circles: the strongly connected components of more than one file."""
    reached = {path: set(files) for path, files in graph.items()}
    for middle in graph:
        for files in reached.values():
            if middle in files:
                files.update(reached[middle])
    components = set()
    for path, files in reached.items():
        components.add(frozenset(other for other in files if path in reached[other]))
    return sorted(sorted(component) for component in components if len(component) > 1)


def system_room(path: str) -> str:
    """The system's room that a file of pipelines/ lies in, such as `playroom/visual_insertion`; empty for none."""
    _, room, *inside = PurePosixPath(path).parts
    if room == "playroom" and inside[0] in SYSTEMS:
        return f"{room}/{inside[0]}"
    return room if room in SYSTEMS else ""


def sideways_imports(graph: Graph) -> list[tuple[str, str]]:
    """Imports, as pairs of files, from one system's room into another's that ALLOWED does not name.

    A room inside of another may import that one.
    """
    imports = []
    for path, files in graph.items():
        room = system_room(path)
        for file in sorted(files):
            other = system_room(file)
            is_sideways = bool(room and other) and room != other and not room.startswith(f"{other}/")
            if is_sideways and (room, other) not in ALLOWED:
                imports.append((path, file))
    return imports


def read(root: Path) -> Sources:
    """The Python files of a checkout's three folders."""
    sources = {}
    for folder in filter(None, FOLDERS.values()):
        for path in sorted((root / folder).rglob("*.py")):
            sources[path.relative_to(root).as_posix()] = path.read_text(encoding="utf-8")
    return sources


def parse(sources: Sources, folder: str = "") -> Trees:
    return {path: ast.parse(text) for path, text in sources.items() if path.startswith(folder)}


def measure(sources: Sources) -> Figures:
    """The figures of the three folders together (walrus) and of each alone (nodes_walrus)."""
    trees = parse(sources)
    functions = branching_functions(trees)
    duplicates = duplicated_places(sources)
    helpers = helpers_with_one_caller(trees)
    figures: Figures = {}
    for prefix, folder in FOLDERS.items():
        counts = Counter()
        for path in (path for path in sources if path.startswith(folder)):
            counts.update(habits(trees[path]), helpers_with_one_caller=helpers[path])
            counts["lines"] += sum(bool(line.strip()) for line in sources[path].split("\n"))
        for name in RATES:
            figures[prefix + name] = (round(1000 * counts[name] / max(counts["lines"], 1), 2), "per 1,000 lines")
        branching = [count for count, place in functions if place.startswith(folder)]
        pairs = sum(one.startswith(folder) and other.startswith(folder) for one, other in duplicates)
        figures[f"{prefix}lines"] = (counts["lines"], "lines that are not blank")
        figures[f"{prefix}most_branches"] = (max(branching, default=0), "branches of the most branching function")
        figures[f"{prefix}duplicated_places"] = (pairs, f"pairs of places that share {SAME_LINES} or more lines")
    return figures


def record(figures: Figures, root: Path, command: str) -> None:
    """Merge the figures of a checkout into docs/figures/house.json, in the form of the benchmarks' figures."""

    def git(command: str) -> str:
        return subprocess.run(["git", *command.split()], cwd=root, capture_output=True, text=True, check=True).stdout

    changes = "+changes" if git("status --porcelain --untracked-files=no -- :!docs/figures") else ""
    commit = git("rev-parse --short HEAD").strip() + changes
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"
    source = {"command": command, "machine": f"{machine}, Python {platform.python_version()}", "commit": commit}
    path = ROOT / "docs" / "figures" / "house.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, (value, unit) in figures.items():
        rows[name] = {"value": value, "unit": unit, **source}
    path.write_text(json.dumps(rows, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, default=ROOT, metavar="CHECKOUT", help="default: this one")
    parser.add_argument("--write", choices=("before", "after"), help="record the figures under names that start so")
    args = parser.parse_args()
    sources = read(args.root)
    figures = measure(sources)
    print(" " * 24, *(f"{folder or 'all':>10}" for folder in FOLDERS.values()))
    for name in ("lines", *RATES, "most_branches", "duplicated_places"):
        print(f"{name:24}", *(f"{figures[prefix + name][0]:10g}" for prefix in FOLDERS))
    print("\nthe most branching functions")
    for count, place in branching_functions(parse(sources))[:10]:
        print(f"{count:4}  {place}")
    graph = import_graph(parse(sources, "pipelines/"))
    named = {f"{args.write}_{name}": figure for name, figure in figures.items()}
    for name, places in (("circles", circles(graph)), ("sideways_imports", sideways_imports(graph))):
        print(f"\n{len(places)} {name}", *map(" ".join, places), sep="\n  ")
        named[name if args.write == "after" else f"{name}_before"] = (len(places), "in pipelines/, by file")
    if args.write:
        root = "" if args.root == ROOT else " --root=CHECKOUT"
        record(named, args.root, f"python devtools/house.py{root} --write={args.write}")


if __name__ == "__main__":
    main()
