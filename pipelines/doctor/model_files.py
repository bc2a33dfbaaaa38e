"""Weight files: where they are looked for, which of the known ones are there, and whether they are whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..weights.folders import walk_once
from ..weights.manifest import FOLDERS, FOUND, Report, Weight, find, load_manifest, read_extra_paths, verify_file
from .check import OK, PROBLEM, SKIPPED, WARNING, Check
from .installation import Installation, has_models

WHICH = "the template insert_object_real says which"


def folders(installation: Installation) -> Iterator[Check]:
    """The folders of models that are searched, with the number of files in each."""
    if not has_models(installation.folders):
        where = "; ".join(str(folder) for key in FOLDERS for folder in installation.folders.get(key, ())[:1])
        found = f"not there: {where or 'none is known'}"
        if installation.running:  # then the host's own list is right
            yield Check("models folders", SKIPPED, found)
        else:
            yield Check("models folders", WARNING, found, "Name ComfyUI's models folder with --models-dir.")
        return
    counts = [f"{key} {len(list(files_in(installation.folders.get(key, ()))))}" for key in FOLDERS]
    top = installation.folders[FOLDERS[0]][0].parent
    more = f" and what {installation.extra.name} adds" if installation.extra else ""
    yield Check("models folders", OK, f"{top}{more}; files: {', '.join(counts)}")
    if installation.extra:
        read_extra_paths(installation.extra)


def files_in(directories: Iterable[Path], endings: tuple[str, ...] = ("",)) -> Iterator[tuple[str, Path]]:
    """The files below some folders of models that end so, by the names that loaders give them."""
    for directory in directories:
        for folder, _, names in walk_once(directory):
            for path in (folder / name for name in sorted(names)):
                if path.as_posix().lower().endswith(endings) and not path.name.startswith((".", "put_")):
                    yield path.relative_to(directory).as_posix(), path


def weights(installation: Installation) -> Iterator[Check]:
    """Each known weight file that is there: its size, its sha256 unless only a quick look is wanted, its licence."""
    known = load_manifest()
    there = {weight.id: find(weight, installation.folders) for weight in known.values()}
    for name, path in there.items():
        if path:
            weight = known[name]
            progress = installation.progress(weight.file)
            report = verify_file(weight, path, check_hash=not installation.quick, progress=progress)
            yield _verified(weight, report, installation)
    if not any(there.values()):
        found = f"none of the {len(known)} known files is there; the toy models need none"
        yield Check("weights", SKIPPED, found, f"For photographs, fetch weights: {WHICH}.")


def _verified(weight: Weight, report: Report, installation: Installation) -> Check:
    licence = f"licence: {weight.licence}"
    if report.usable:
        found = "size and sha256 are right" if report.state == FOUND else report.detail
        return Check("weights", OK, f"{weight.id}: {found}; {licence}")
    advice = f"Fetch it again: {installation.program} weights fetch {weight.id} --force"
    return Check("weights", PROBLEM, f"{weight.id}: {report.state}, {report.detail}; {report.path}", advice)
