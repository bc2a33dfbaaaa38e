"""`visual-insertion weights`: list, verify and fetch the weight files the pack knows."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..weights import manifest as weights
from ..weights.manifest import Report, Weight
from . import MISSING, OK, PROBLEM, outcome, say


def register(subparsers: Any) -> None:
    """Add `weights list | verify | fetch`."""
    parser = subparsers.add_parser("weights", help="list, verify and fetch weight files")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, run, text in (
        ("list", _list, "what is known, and what of it is there (sizes only)"),
        ("verify", _verify, "size and sha256 of what is there; exit code 1 wrong, 2 missing"),
        ("fetch", _fetch, "download, resume, verify and put in place"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.set_defaults(run=partial(outcome, _run, run))
        _add_options(action, name)


def _add_options(parser: ArgumentParser, action: str) -> None:
    parser.add_argument("ids", metavar="ID", nargs="+" if action == "fetch" else "*")
    parser.add_argument(
        "--models-dir",
        type=Path,
        metavar="PATH",
        help="ComfyUI's models folder (default: $COMFYUI_MODELS, then $COMFYUI_PATH/models)",
    )
    if action == "fetch":
        parser.add_argument("--endpoint", metavar="URL", help="a hub or mirror ($HF_ENDPOINT)")
        parser.add_argument("--send-token", action="store_true", help="your Hugging Face token to --endpoint, too")
        parser.add_argument("--force", action="store_true", help="replace a file that is wrong")
    else:
        parser.add_argument(
            "--extra-model-paths",
            type=Path,
            metavar="YAML",
            help="ComfyUI's extra_model_paths.yaml: search there too",
        )
    parser.add_argument("--manifest", type=Path, default=weights.MANIFEST, metavar="JSON")
    parser.add_argument("--json", action="store_true", help="machine-readable, on stdout")


def _run(action: Callable[[Namespace, list[Weight], dict[str, list[Path]]], int], args: Namespace) -> int:
    """Do what is asked with the weights and folders that are meant; wrong use is said in a word."""
    try:
        chosen, folders = _prepare(args, need_folders=action is not _list)
    except (OSError, ValueError, ImportError) as error:
        return say(str(error), MISSING)
    return action(args, chosen, folders)


def _prepare(args: Namespace, need_folders: bool) -> tuple[list[Weight], dict[str, list[Path]]]:
    """The weights asked for and the folders to search. Raises OSError, ValueError or ImportError on wrong use."""
    known = weights.load_manifest(args.manifest)
    args.models_dir = args.models_dir or weights.default_models_dir()
    extra = getattr(args, "extra_model_paths", None)
    folders = weights.model_folders(args.models_dir, extra) if args.models_dir else {}
    if unknown := [name for name in args.ids if name not in known]:
        raise ValueError(f"There is no weight {', '.join(unknown)}. Known are: {', '.join(known)}.")
    if need_folders and not folders:
        raise ValueError("Where are the models? Give --models-dir, or set COMFYUI_MODELS or COMFYUI_PATH.")
    if args.models_dir and not args.models_dir.is_dir():
        raise ValueError(f"{args.models_dir} is not a folder. Give ComfyUI's models folder.")
    return [known[name] for name in args.ids] or list(known.values()), folders


def _list(args: Namespace, chosen: list[Weight], folders: dict[str, list[Path]]) -> int:
    reports = [weights.verify(weight, folders, check_hash=False) if folders else None for weight in chosen]
    if args.json:
        _print_json([_row(weight, report) for weight, report in zip(chosen, reports, strict=True)])
        return OK
    cells = [("ID", "SIZE", "SHA256", "LICENCE", "FOLDER", "STATE")]
    for weight, report in zip(chosen, reports, strict=True):
        state = "-" if report is None else "there" if report.usable else report.state
        known = "known" if weight.sha256 else "unknown"
        cells.append((weight.id, weight.size_text, known, weight.licence, weight.folder, state))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    if not folders:
        say("With --models-dir the last column says what is there.")
    return OK


def _verify(args: Namespace, chosen: list[Weight], folders: dict[str, list[Path]]) -> int:
    reports = []
    for weight in chosen:
        try:
            report = weights.verify(weight, folders, progress=hashing_progress(weight.file))
        except OSError as error:
            report = Report(weight.id, "unreadable", detail=str(error))
        if not args.ids and report.state == weights.MISSING:
            continue  # nobody has, or needs, every file of the list
        reports.append((weight, report))
        if not args.json:
            print(f"{weight.id}: {report.state}{f' ({report.path})' if report.path else ''}")
            if report.detail:
                print(f"    {report.detail}")
    if args.json:
        _print_json([_row(weight, report) for weight, report in reports])
    elif not reports:
        print(f"None of the {len(chosen)} known files is there.")
    bad = {report.state for _, report in reports if not report.usable}
    if bad - {weights.MISSING}:
        return PROBLEM
    return MISSING if bad or not reports else OK


def _fetch(args: Namespace, chosen: list[Weight], folders: dict[str, list[Path]]) -> int:
    rows = []
    code = OK
    for weight in chosen:
        say(f"{weight.file}: {weight.size_text} from {weight.repository}")
        say(f"    licence: {weight.licence}. {weight.licence_note}")
        try:
            report = weights.fetch(
                weight,
                args.models_dir,
                endpoint=args.endpoint,
                token=_own_token() if args.send_token else None,
                force=args.force,
                progress=hashing_progress(weight.file),
            )
            say(f"    {report.state}: {report.path} (sha256 {report.sha256})")
        except weights.FetchError as error:
            report = Report(weight.id, "failed", detail=str(error))
            say(f"    {error}")
            code = PROBLEM
        rows.append(_row(weight, report))
    if args.json:
        _print_json(rows)
    return code


def _own_token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _row(weight: Weight, report: Report | None) -> dict[str, Any]:
    """One line of the JSON output."""
    return {
        "id": weight.id,
        "role": weight.role,
        "file": weight.file,
        "folder": weight.folder,
        "repository": weight.repository,
        "bytes": weight.bytes or weight.bytes_approximate,
        "exact": weight.bytes is not None,
        "sha256": weight.sha256,
        "licence": weight.licence,
        "state": report.state if report else None,
        "path": str(report.path) if report and report.path else None,
        "found_sha256": report.sha256 if report else None,
        "detail": report.detail if report else "",
    }


def hashing_progress(name: str) -> weights.Progress | None:
    """A line on the terminal that follows the hashing; nothing where nobody watches."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\r" if done < total else "\r\033[K"
        print(f"    checking {name}: {done / max(total, 1):4.0%}", end=end, file=sys.stderr)

    return show


def _print_json(rows: list[dict[str, Any]]) -> None:
    print(json.dumps(rows, indent=2, ensure_ascii=False))
