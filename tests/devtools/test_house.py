"""devtools/house.py: small sources with known habits, and the counts that a reader finds in them by hand."""

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from visual_insertion_pack.devtools import house


def habits(source):
    return Counter(house.habits(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "scene, target = open(a), open(b)",
        "self.count, total = 0, 1",
        "width, name = 3, 'x'",  # width is one thing with height alone
        "scene, target = (decode(row) for row in rows)",
        "x, y = (side / 2 for side in size)",  # never a generator, be they one thing or not
        "x, y = [side / 2 for side in size]",
        "a, *rest = 1, 2, 3",
    ],
)
def test_a_tuple_assignment_of_several_things_counts(source):
    assert habits(source) == {"tuple_assignments": 1}


@pytest.mark.parametrize(
    "source",
    [
        "height, width = image.shape",
        "scene, target = pair",
        "scene, target = load(path)",
        "x, y = x + 1, y + 1",
        "top, left = 0, 0",
        "self.image_mean, self.image_std = image_mean, image_std",
        "q, k, v = to_q(x), to_k(x), to_v(x)",
        "size = 3, 4",
        "for scene, target in pairs: pass",
    ],
)
def test_unpacking_and_things_that_are_one_do_not_count(source):
    assert habits(source) == {}


def test_every_walrus_counts():
    assert habits("if (a := f()) and (b := g(a)):\n    print(b)") == {"walrus": 2}


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("[a for a in x if a]", 0),
        ("[a for b in x for a in b]", 1),
        ("{a: [c for c in b] for a, b in x}", 1),
        ("sum(max(c for c in b) for b in {a for a in x})", 1),
        ("[[[d for d in c] for c in b] for b in a]", 2),
    ],
)
def test_comprehensions_in_comprehensions_count(source, count):
    assert habits(source)["nested_comprehensions"] == count


@pytest.mark.parametrize(
    ("source", "count"),
    [("f(1, 2, 3, 4, 5)", 1), ("f(1, 2, 3, 4, e=5)", 0), ("f(*a, *b, 3, 4)", 0), ("x.f(*a, 2, 3, 4, 5, **k)", 1)],
)
def test_five_positional_arguments_make_a_long_call(source, count):
    assert habits(source)["long_calls"] == count


def test_any_counts_where_it_is_used_and_not_where_it_is_imported():
    source = "import typing\nfrom typing import Any\ndef f(a: Any, b: dict[str, Any], c: typing.Any = any(d)): ..."
    assert habits(source) == {"any": 3}


def helpers(**files):
    sources = {f"pipelines/{name}.py": text for name, text in files.items()}
    return dict(+house.helpers_with_one_caller(house.parse(sources)))


def test_a_private_helper_used_once_counts():
    once = "def _once(): ...\ndef __dunder(): ...\ndef public(): ...\n_once()\n__dunder()\npublic()"
    assert helpers(a=once) == {"pipelines/a.py": 1}
    assert helpers(a="def _twice(): ...\n_twice()\nprint(key=_twice)") == {}
    assert helpers(a="def _never(): ...") == {}
    assert helpers(a="class A:\n    def _step(self): ...\n    def run(self): self._step()") == {"pipelines/a.py": 1}


def test_uses_in_an_importing_file_count_too():
    helper = "def _helper(): ..."
    assert helpers(a=helper, b="from .a import _helper\n_helper()") == {"pipelines/a.py": 1}
    assert helpers(a=helper + "\n_helper()", b="from . import a\na._helper()") == {}


def test_the_same_name_in_a_file_that_imports_nothing_is_another_helper():
    one = "def _helper(): ...\n_helper()"
    assert helpers(a=one, b=one) == {"pipelines/a.py": 1, "pipelines/b.py": 1}
    assert helpers(a=one, b="from . import a\n" + one) == {"pipelines/a.py": 1, "pipelines/b.py": 1}


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("return 1", 1),
        ("if a:\n        b\n    elif c:\n        d\n    else:\n        e", 3),
        ("return b if a and c or d else e", 4),
        ("return [a for a in b if a if c]", 4),
        ("try:\n        a\n    except (B, C):\n        d\n    finally:\n        e", 2),
        ("while a:\n        for b in c:\n            assert d", 4),
        ("match a:\n        case 1:\n            b\n        case _:\n            c", 3),
        ("def inner():\n        if a:\n            b", 2),
    ],
)
def test_branches_are_counted_with_those_inside_comprehensions(body, count):
    assert house.branches(ast.parse(f"def f():\n    {body}").body[0]) == count


def test_the_most_branching_function_comes_first_with_its_place():
    trees = house.parse({"nodes/a.py": "def f(): ...\n\nclass A:\n    async def g(self):\n        if a: b"})
    assert house.branching_functions(trees) == [(2, "nodes/a.py:4 g"), (1, "nodes/a.py:1 f")]


SIX = [f"line_{number}()" for number in range(6)]


def pairs(**files):
    return house.duplicated_places({f"{name}.py": "\n".join(lines) for name, lines in files.items()})


def test_six_equal_lines_are_a_pair_and_five_are_none():
    assert pairs(a=["a()", *SIX], b=["b()", *SIX, "c()"]) == [("a.py", "b.py")]
    assert pairs(a=["a()", *SIX[1:]], b=["b()", *SIX[1:]]) == []


def test_a_longer_stretch_is_one_pair_and_three_places_are_three():
    assert pairs(a=[*SIX, "x()", "y()"], b=[*SIX, "x()", "y()"]) == [("a.py", "b.py")]
    assert len(pairs(a=SIX, b=SIX, c=SIX)) == 3
    assert pairs(a=[*SIX, "x()", *SIX]) == [("a.py", "a.py")]


def test_a_run_of_one_repeated_line_is_no_pair_with_itself_moved_by_less_than_six():
    assert pairs(a=["same()"] * 11) == []


def test_layout_comments_and_imports_make_no_difference():
    indented = ["def f():", *(f"    {line}" for line in SIX)]
    spread = [SIX[0], "", "# why", *SIX[1:3], "from a import (", "    b,", ")", *SIX[3:]]
    assert pairs(a=indented, b=spread) == [("a.py", "b.py")]
    assert pairs(a=["from a import ("] + ["    b,"] * 6 + [")"], b=["f("] + ["    b,"] * 6 + [")"]) == []


def graph(**files):
    """Files of pipelines/ by their dotted names; __ is a slash."""
    sources = {f"pipelines/{name.replace('__', '/')}.py": text for name, text in files.items()}
    return house.import_graph(house.parse(sources))


def test_imports_lead_to_files():
    init = {"room/__init__": "", "room/a": ""}
    source = (
        "import room\nfrom .room import a, b\nfrom .room.a import c\ndef f():\n    from . import d\nfrom .e import f"
    )
    sources = {f"pipelines/{name}.py": text for name, text in {**init, "here": source, "d": ""}.items()}
    sources["nodes/a.py"] = "from ..pipelines.room import a"
    edges = house.import_graph(house.parse(sources))
    assert edges["pipelines/here.py"] == {"pipelines/room/a.py", "pipelines/room/__init__.py", "pipelines/d.py"}
    assert edges["nodes/a.py"] == {"pipelines/room/a.py"}


def test_a_circle_is_seen_through_functions_and_type_checking():
    late = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import A"
    edges = graph(a="from .b import B", b="def f():\n    from .c import C", c=late, d="from .a import A")
    assert house.circles(edges) == [["pipelines/a.py", "pipelines/b.py", "pipelines/c.py"]]


def test_two_circles_are_two_and_a_chain_is_none():
    assert house.circles(graph(a="from . import b", b="from . import c", c="")) == []
    two = graph(a="from . import b", b="from . import a", c="from . import d, a", d="from . import c")
    assert len(house.circles(two)) == 2


def test_a_system_imports_sideways_unless_the_list_allows_it():
    edges = graph(
        paint_by_example__a="from ..visual_insertion import b\nfrom ..ground import c",
        visual_insertion__b="from . import d",
        visual_insertion__d="",
        baselines__e="from ..visual_insertion.b import f",
        ground="from .visual_insertion import b",
    )
    assert house.sideways_imports(edges) == [("pipelines/paint_by_example/a.py", "pipelines/visual_insertion/b.py")]


@pytest.fixture
def checkout(tmp_path):
    """A repository with ten lines of code in pipelines/, none in nodes/ and thirty in devtools/."""
    sources = {
        "pipelines/a.py": "a, b = 1, 2\n\n" + "c = 3\n" * 9,
        "nodes/b.py": "\n\n",
        "devtools/c.py": "# a line\n" + "f(1, 2, 3, 4, 5)\n" * 3 + "d = 4\n" * 26,
        "tests/d.py": "a, b = 1, 2",
    }
    for path, text in sources.items():
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(text)
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_rates_are_per_thousand_lines_that_are_not_blank(checkout):
    figures = house.measure(house.read(checkout))
    values = {name: value for name, (value, _) in figures.items()}
    assert (values["lines"], values["pipelines_lines"], values["nodes_lines"]) == (40, 10, 0)
    assert (values["tuple_assignments"], values["pipelines_tuple_assignments"]) == (25, 100)
    assert (values["long_calls"], values["devtools_long_calls"]) == (75, 100)
    assert values["nodes_tuple_assignments"] == 0
    assert len(figures) == 4 * (len(house.RATES) + 3)


def test_what_is_written_names_the_commit_that_was_measured(checkout, monkeypatch, tmp_path_factory, capsys):
    here = tmp_path_factory.mktemp("here")
    (here / "docs" / "figures").mkdir(parents=True)
    monkeypatch.setattr(house, "ROOT", here)

    def rows(stage):
        monkeypatch.setattr(sys, "argv", ["house.py", f"--root={checkout}", f"--write={stage}"])
        house.main()
        return json.loads((here / "docs" / "figures" / "house.json").read_text())

    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()
    before = rows("before")
    assert before["before_pipelines_tuple_assignments"]["value"] == 100
    assert {row["commit"] for row in before.values()} == {commit}
    assert {row["command"] for row in before.values()} == {"python devtools/house.py --root=CHECKOUT --write=before"}
    assert {"circles_before", "sideways_imports_before"} <= before.keys()
    (checkout / "pipelines" / "a.py").write_text("c = 3\n")
    both = rows("after")
    assert {name: both[name] for name in before} == before
    assert both["after_tuple_assignments"]["commit"] == f"{commit}+changes"
    assert (both["circles"]["value"], both["after_tuple_assignments"]["value"]) == (0, 0)
    assert "tuple_assignments" in capsys.readouterr().out


def test_any_checkout_can_be_measured_without_a_package_installed(checkout):
    command = [sys.executable, "-I", "-S", Path(house.__file__), f"--root={checkout}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ["long_calls", "75", "0", "0", "100"] in [line.split() for line in shown.splitlines()]
    assert "0 circles" in shown
