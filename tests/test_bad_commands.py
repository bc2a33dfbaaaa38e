"""Bad input to the commands: one line, the right exit code, and nothing that was there has changed."""

import pytest

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.tests.bad_commands import REFUSED, ROOT

RECIPE = ROOT / "pipelines" / "visual_insertion" / "training" / "recipes" / "playroom.yaml"


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.command}: {case.given}")
def test_it_is_said_in_one_line_and_nothing_is_lost(case, tmp_path, capsys):
    arguments = [str(word) for word in case.arguments(tmp_path)]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    code = main(arguments)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    path = RECIPE if case.path == "RECIPE" else tmp_path / case.path
    shown = "FILE" if path.suffix else "FOLDER"
    assert said.replace(str(path), shown).startswith(case.said), said
    assert code == case.code
    assert all(path.read_bytes() == content for path, content in before.items())
