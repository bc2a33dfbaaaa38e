"""In how many languages all that the front end shows of our nodes is translated: docs/figures/first_hour.json."""

from __future__ import annotations

import argparse
import json

from ..devtools import locales
from .figures import record

COMMAND = "python dev.py bench locales"


def main() -> None:
    argparse.ArgumentParser("dev.py bench locales", description=__doc__).parse_args()
    english = json.loads(locales.definitions_file("en").read_text(encoding="utf-8"))
    texts = len(locales.sentences(english))
    complete = 0
    for language in locales.LANGUAGES:
        missing, superfluous = locales.gaps(english, locales.table(language))
        print(f"{language}: {texts - len(missing)} of {texts} texts, {len(superfluous)} outdated")
        complete += not missing and not superfluous
    unit = f"languages beside English with all {texts} texts of our nodes, of {', '.join(locales.LANGUAGES)}"
    record("first_hour", {"locales_complete": (complete, unit)}, COMMAND)


if __name__ == "__main__":
    main()
