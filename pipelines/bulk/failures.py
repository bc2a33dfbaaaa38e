"""Which pairs failed, and why: one row each in a file of JSON lines beside the pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..whole_files import told, whole
from .tasks import Task

FAILURES = "failures.jsonl"


class Failures:
    """The failures of a run, in a file that holds those so far at any moment, and all of them in order at its end.

    Rows of earlier runs stay until then: their pairs are tried again, and may have failed again.
    """

    def __init__(self, folder: Path):
        self.path = folder / FAILURES
        self.count = 0
        self.begun = 0  # bytes that earlier runs wrote
        if self.path.is_file():
            content = self.path.read_bytes()
            with told(self.path, every=True), open(self.path, "ab") as file:
                if content and not content.endswith(b"\n"):  # killed while it wrote
                    file.write(b"\n")
                self.begun = file.tell()

    def add(self, task: Task, reason: str) -> None:
        """Note one. Raises OSError where the file cannot be written."""
        row = {"name": task.name, **task.given, "reason": reason, "line": task.line}
        text = json.dumps(row, ensure_ascii=False) + "\n"
        with told(self.path, every=True), open(self.path, "ab") as file:
            file.write(text.encode("utf-8", "backslashreplace"))  # what is no text is JSON's own escape then
        self.count += 1

    def finish(self) -> None:
        """Leave those of this run alone, in the order of the list; no file where nothing failed."""
        if not self.count:
            self.path.unlink(missing_ok=True)
            return
        rows: list[tuple[int, bytes]] = []
        with open(self.path, "rb") as file:
            file.seek(self.begun)
            for text in file:
                row: dict[str, Any] = json.loads(text)
                rows.append((row["line"], text))
        with whole(self.path) as part, open(part, "wb") as file:
            file.writelines(text for _, text in sorted(rows))
