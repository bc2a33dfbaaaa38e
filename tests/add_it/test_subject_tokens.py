"""The subject among a prompt's tokens, with CLIP's kind of tokenizer and with SentencePiece's."""

import re

import pytest

from visual_insertion_pack.pipelines.add_it.subject_tokens import BARE, subject_tokens

PIECES = [
    "▁",
    "▁a",
    "▁cat",
    "▁cats",
    "a",
    "maran",
    "▁on",
    "▁red",
    "▁sofa",
    "▁Sofa",
    "▁and",
    "hat",
    ",",
    "▁in",
    "▁s",
    "ofa",
    ".",
]
PIECES += ["▁teddy", "▁bear", "▁chair", "▁Two", "▁at", "▁sea", '"', "▁photo", "s", "▁of"]
NUMBERS = {piece: number for number, piece in enumerate(["<pad>", "</s>", "<unk>", *PIECES])}  # "▁" is 3, as in T5
assert NUMBERS["▁"] == 3


def t5(text):
    """The longest pieces first, an end and padding to 24, as T5's tokenizer and the host give them."""
    rest = re.sub(r"\s+", "▁", " " + text.strip()) if text.strip() else ""
    ids = []
    while rest:
        piece = max((piece for piece in PIECES if rest.startswith(piece)), key=len, default=None)
        ids.append(NUMBERS[piece] if piece else 2)
        rest = rest[len(piece or rest[0]) :]
    return [*ids, 1] + [0] * (23 - len(ids))


def words_at(prompt, phrase, **options):
    numbers = {number: piece for piece, number in NUMBERS.items()}
    ids = t5(prompt)
    return [numbers[ids[position]] for position in subject_tokens(prompt, phrase, t5, **options)]


def test_a_phrase_in_the_middle_of_a_sentence():
    assert words_at("a cat on a red sofa", "red sofa") == ["▁red", "▁sofa"]
    assert words_at("a teddy bear in a chair", " teddy  bear ") == ["▁teddy", "▁bear"]


@pytest.mark.parametrize(("prompt", "phrase"), [("Sofa and cat", "sofa"), ("a cat on a sofa", "Sofa")])
def test_case_is_no_matter(prompt, phrase):
    assert words_at(prompt, phrase)[0].lower() == "▁sofa"


def test_the_plural_is_found_by_the_singular_and_the_other_way():
    assert words_at("Two cats on a sofa", "cat") == ["▁cats"]
    assert words_at("a cat on a sofa", "cats") == ["▁cat"]


def test_a_longer_word_is_no_hit():
    assert subject_tokens("a catamaran and a cat", "cat", t5) == [6]
    with pytest.raises(ValueError, match="“cat” is not in the prompt"):
        subject_tokens("a catamaran at sea", "cat", t5)


def test_t5s_bare_word_start_is_left_out():
    assert words_at("a hat on a cat", "hat") == ["▁", "hat"]
    assert words_at("a hat on a cat", "hat", left_out=BARE) == ["hat"]


def test_several_hits_must_be_chosen_from():
    with pytest.raises(ValueError, match=r"“cat” is in the prompt 2 times .* from 1 to 2"):
        subject_tokens("a cat and a cat", "cat", t5)
    assert subject_tokens("a cat and a cat", "cat", t5, occurrence=2) == [4]
    with pytest.raises(ValueError, match="there is no occurrence 3"):
        subject_tokens("a cat and a cat", "cat", t5, occurrence=3)


def test_what_is_absent_or_hidden_is_said_with_what_was_found():
    with pytest.raises(ValueError, match=r"“soffa” is not in the prompt “a red sofa”. Is it “sofa”\?"):
        subject_tokens("a red sofa", "soffa", t5)
    with pytest.raises(ValueError, match="The prompt is empty"):
        subject_tokens("", "sofa", t5)
    with pytest.raises(ValueError, match="The subject is empty"):
        subject_tokens("a red sofa", " ", t5)


def test_the_playrooms_own_tokenizer_has_it():
    from transformers import CLIPTokenizer

    from visual_insertion_pack.pipelines.playroom.add_it.tokenizer import FOLDER

    tokenizer = CLIPTokenizer.from_pretrained(FOLDER)

    def tokenize(text):
        return tokenizer(text, padding="max_length", max_length=32)["input_ids"]

    prompt = "a room with a table , a striped red ball on the table and a blue mug on the floor"
    assert subject_tokens(prompt, "striped red ball", tokenize) == [8, 9, 10]
    assert subject_tokens(prompt, "Mug", tokenize) == [17]
    with pytest.raises(ValueError, match="2 times"):
        subject_tokens(prompt, "table", tokenize)
