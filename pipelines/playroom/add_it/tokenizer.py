"""The captions' tokenizer in the public layout of CLIP's: a word of the playroom is one token, any text can be read.

    python devtools/pack.py pipelines.playroom.add_it.tokenizer FOLDER

writes vocab.json, merges.txt and tokenizer_config.json. Other words fall apart into letters.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from ...whole_files import write_text
from .captions import LENGTH, VOCABULARY

FOLDER = Path(__file__).resolve().parents[3] / "playroom_flux" / "tokenizer"
START = "<|startoftext|>"
END = "<|endoftext|>"
WORD_END = "</w>"


@dataclass(frozen=True)
class Words:
    """The numbers of words and of a caption's ends."""

    numbers: dict[str, int]

    def number(self, word: str) -> int:
        """The token of a word. Raises KeyError for a word that is none of the playroom's."""
        return self.numbers[word + WORD_END]

    @property
    def start(self) -> int:
        return self.numbers[START]

    @property
    def end(self) -> int:
        return self.numbers[END]

    @property
    def count(self) -> int:
        return len(self.numbers)


def read_words(folder: Path = FOLDER) -> Words:
    """The words of a tokenizer's folder. Raises OSError."""
    return Words(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))


def letters() -> list[str]:
    """GPT-2's 256 printable characters for bytes, in the order of CLIP's vocabulary."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + index) for index in range(len(others))]


def merges(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Byte-pair merges, in the order of their rank, under which each of the words is one token.

    As in training a byte-pair tokenizer on the list: merge the first pair of the first word that is in pieces yet, in
    all words at once.
    """
    pieces = [[*word[:-1], word[-1] + WORD_END] for word in words]
    ranked: list[tuple[str, str]] = []
    while broken := [parts for parts in pieces if len(parts) > 1]:
        pair = (broken[0][0], broken[0][1])
        ranked.append(pair)
        pieces = [_merged(parts, pair) for parts in pieces]
    return ranked


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged = []
    index = 0
    while index < len(parts):
        if tuple(parts[index : index + 2]) == pair:
            merged.append(pair[0] + pair[1])
            index += 2
        else:
            merged.append(parts[index])
            index += 1
    return merged


def write_tokenizer(folder: Path) -> None:
    """Write the tokenizer's files, the same ones each time. Raises OSError."""
    ranked = merges(VOCABULARY)
    bytes_ = letters()
    tokens = [*bytes_, *(letter + WORD_END for letter in bytes_), *(a + b for a, b in ranked), START, END]
    numbers = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "do_lower_case": True, **special}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "vocab.json", json.dumps(numbers, ensure_ascii=False, indent=0) + "\n")
    write_text(folder / "merges.txt", "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in ranked))
    write_text(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")


def main() -> None:
    write_tokenizer(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)


if __name__ == "__main__":
    main()
