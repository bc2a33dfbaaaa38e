"""A paper's table from an empty folder, by the commands in docs/evaluation.md, the pack installed as pip installs it.

The block of that page is run as it stands, with small numbers and one worker; its last command once more, with two
workers, killed on the way and started again. The figure is 1 when everything is there and both have the same numbers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from .figures import ROOT, record

PAGE = ROOT / "docs" / "evaluation.md"
SMALL = {"TOYS": 4, "BATCH": 2, "STEPS": 2, "SAMPLING": 2, "CASES": 6, "SEEDS": 2, "WORKERS": 1}
TABLES = ("table.tex", "table.csv", "table.md", "cases.csv", "summary.csv", "grid.png")
COMMAND = """#!{python}
import sys
from visual_insertion_pack.pipelines.__main__ import main
if __name__ == "__main__":
    sys.exit(main())
"""
BUILD = "import setuptools; setuptools.setup()"


def block() -> str:
    """The commands under "A paper's table", with small numbers in the places of those in their first line."""
    section = PAGE.read_text(encoding="utf-8").partition("## A paper's table")[2]
    found = re.search(r"```bash\n(.*?)```", section, re.DOTALL)
    if not found:
        raise ValueError(f"{PAGE} has no block of commands under 'A paper's table'.")
    first, _, rest = found[1].partition("\n")
    names = [word.partition("=")[0] for word in first.split()]
    if sorted(names) != sorted(SMALL):
        raise ValueError(f"The numbers in {PAGE} are {', '.join(names)}, not {', '.join(SMALL)}.")
    return " ".join(f"{name}={SMALL[name]}" for name in names) + "\n" + rest


def last_command(commands: str) -> str:
    """The numbers and the last command of a block."""
    first, _, rest = commands.partition("\n")
    return first + "\n" + rest[rest.index("visual-insertion evaluate") :]


def install(folder: Path) -> dict[str, str]:
    """Put the pack into a folder as its wheel has it, and return the environment that finds it and its command.

    setuptools builds, so that neither a network nor the package wheel is needed.
    """
    site = folder / "site"
    site.mkdir(parents=True)
    build = [sys.executable, "-c", BUILD, "-q", "egg_info", "--egg-base", site, "build_py", "--build-lib", site]
    subprocess.run([str(word) for word in build], cwd=ROOT, check=True, capture_output=True, text=True)
    program = folder / "bin" / "visual-insertion"
    program.parent.mkdir()
    program.write_text(COMMAND.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    path = os.pathsep.join([str(program.parent), os.environ.get("PATH", "")])
    own = {"PATH": path, "PYTHONPATH": str(site), "VISUAL_INSERTION_CACHE": str(folder / "encodings")}
    return os.environ | own | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def bash(commands: str, folder: Path, variables: dict[str, str]) -> None:
    """Run commands in a folder. Raises RuntimeError with what they said where one fails."""
    words = ["bash", "-euo", "pipefail", "-c", commands]
    done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def killed(commands: str, folder: Path, variables: dict[str, str], *, output: str, cases: int) -> None:
    """Start commands and kill them once so many cases are measured. Raises RuntimeError if they end before."""
    process = subprocess.Popen(
        [
            "bash",
            "-euo",
            "pipefail",
            "-c",
            commands.replace("visual-insertion evaluate", "exec visual-insertion evaluate"),
        ],
        cwd=folder,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while len(list((folder / output / "measured").glob("*"))) < cases and process.poll() is None:
            time.sleep(0.1)
        if process.poll() is not None:
            raise RuntimeError("The command ended before it could be killed.")
    finally:
        process.kill()
        process.wait()


def values(report: Path) -> dict:
    """All numbers of a report, without what says how it was made."""
    return {name: part for name, part in json.loads(report.read_text(encoding="utf-8")).items() if name != "settings"}


def differences(one: Path, other: Path) -> list[str]:
    """The names of the files of two reports that are not the same."""
    unlike = [name for name in TABLES if (one / name).read_bytes() != (other / name).read_bytes()]
    return unlike + ["report.json"] * (values(one / "report.json") != values(other / "report.json"))


def table(folder: Path) -> tuple[Path, list[str]]:
    """Make the table in an empty folder in two ways; the folder of the first, and what differs in the other."""
    variables = install(folder / "installed")
    work = folder / "work"
    work.mkdir()
    commands = block()
    bash(commands, work, variables)
    resumed = last_command(commands).replace("--output table", "--output resumed").replace("WORKERS=1", "WORKERS=2")
    killed(resumed, work, variables, output="resumed", cases=2)
    bash(resumed, work, variables)
    return work / "table", differences(work / "table", work / "resumed")


def main() -> None:
    started = time.monotonic()
    with TemporaryDirectory(prefix="table-", ignore_cleanup_errors=True) as folder:
        page, unlike = table(Path(folder))
        print((page / "table.md").read_text(encoding="utf-8"))
    print(f"{time.monotonic() - started:.0f} s; unlike: {unlike or 'nothing'}")
    unit = "1 if all is made by docs/evaluation.md's commands, and alike with 2 workers after a kill"
    record("research", {"table_from_empty_folder": (float(not unlike), unit)}, "python dev.py bench table")


if __name__ == "__main__":
    main()
