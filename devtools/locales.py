"""locales/: what the front end shows of our nodes, in English out of their schemas, and in the languages translated to.

A translation is kept as a table from English sentences to theirs, translations/LANGUAGE.json: a sentence that a schema
no longer says, or says anew, is seen at once, and what several nodes say is translated once. This command writes the
files that the host serves and says what the tables lack.

.dev/venv/bin/python devtools/pack.py devtools.locales
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .environment import ROOT, find_host
from .inprocess import InProcess

LANGUAGES = ("zh", "ja", "ko", "fr", "de")
TABLES = Path(__file__).with_name("translations")


def our_nodes() -> list[Any]:
    """The node classes of the pack; ComfyUI must be booted (inprocess.py)."""
    from ..nodes import VisualInsertionExtension

    return asyncio.run(VisualInsertionExtension().get_node_list())


def definitions_file(language: str) -> Path:
    """Where the host looks for the texts of nodes in a language."""
    return ROOT / "locales" / language / "nodeDefs.json"


def table(language: str) -> dict[str, str]:
    """{English sentence: translation}, as translators left it."""
    return json.loads((TABLES / f"{language}.json").read_text(encoding="utf-8"))


def node_definitions() -> dict[str, Any]:
    """The English texts of all nodes, as the front end looks for them."""
    definitions = {}
    for node in our_nodes():
        schema = node.GET_SCHEMA()
        inputs = {item.id: {"name": item.display_name or item.id, "tooltip": item.tooltip} for item in schema.inputs}
        outputs = {
            str(index): {"name": item.display_name, "tooltip": item.tooltip}
            for index, item in enumerate(schema.outputs)
        }
        definitions[schema.node_id] = {
            "display_name": schema.display_name,
            "description": schema.description,
            "inputs": inputs,
            "outputs": outputs,
        }
    return definitions


def as_text(definitions: dict[str, Any]) -> str:
    """The content of nodeDefs.json."""
    return json.dumps(definitions, indent=2, ensure_ascii=False) + "\n"


def sentences(definitions: dict[str, Any]) -> list[str]:
    """Every text of the nodes once, in their order."""
    return list(dict.fromkeys(_texts(definitions)))


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for value in part.values():
            yield from _texts(value)
    elif part:
        yield part


def translated(part: Any, translations: dict[str, str]) -> Any:
    """`node_definitions`, or a part of them, in another language.

    A sentence without a translation is left out: the front end then shows the English one of the node itself.
    """
    if isinstance(part, dict):
        parts = {key: translated(value, translations) for key, value in part.items()}
        return {key: value for key, value in parts.items() if value is not None}
    return translations.get(part) or None


def gaps(definitions: dict[str, Any], translations: dict[str, str]) -> tuple[list[str], list[str]]:
    """(English sentences to translate, sentences of the table that no node says any more)."""
    english = sentences(definitions)
    missing = [sentence for sentence in english if not translations.get(sentence)]
    superfluous = [sentence for sentence in translations if sentence not in english]
    return missing, superfluous


def main() -> int:
    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    with tempfile.TemporaryDirectory() as base:
        InProcess(home, Path(base))
        english = node_definitions()
    files = {"en": english} | {language: translated(english, table(language)) for language in LANGUAGES}
    for language, definitions in files.items():
        definitions_file(language).parent.mkdir(parents=True, exist_ok=True)
        definitions_file(language).write_text(as_text(definitions), encoding="utf-8")
    print(f"wrote {ROOT / 'locales'}: {', '.join(files)}")
    complete = True
    for language in LANGUAGES:
        missing, superfluous = gaps(english, table(language))
        for sentence in missing:
            print(f"{language}: translate {json.dumps(sentence, ensure_ascii=False)}")
        for sentence in superfluous:
            print(f"{language}: no node says {json.dumps(sentence, ensure_ascii=False)} any more")
        complete = complete and not missing and not superfluous
    return 0 if complete else 1
