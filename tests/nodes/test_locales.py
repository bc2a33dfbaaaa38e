"""What the front end shows of our nodes, in English and in the languages that it was translated to."""

import json
import re
from collections import Counter
from copy import deepcopy
from pathlib import Path

import pytest

from visual_insertion_pack.devtools import locales

SCHEMAS = Path(__file__).parents[1] / "schemas.json"

# Names of models, programs, formats and units: the same in every language.
NAMES = (
    *"VAE UNet CLIP LoRA EMA CPU API RGBA px GB sha256 cfg safetensors diffusers ckpt .ora s_T s_I".split(),
    *"InstructPix2Pix Pix2Pix DINOv2-large ViT-L/14 OpenRaster Krita GIMP MyPaint".split(),
    *("Paint by Example", "Paint by Inpaint", "Stable Diffusion 1.5", "Euler ancestral", "Visual Insertion"),
)
# Input names that languages take over; each of them may, not all do.
TAKEN_OVER = {"x", "y", "vae", "clip", "clip_vision", "clip_vision_output", "latent"}
TAKEN_OVER_IN = {"de": {"Name", "Null", "Guidance", "Guider", "Seed", "Scheduler", "Index"}, "fr": {"image"}}
SCRIPTS = {"zh": r"[\u4e00-\u9fff]", "ja": r"[\u3040-\u30ff\u4e00-\u9fff]", "ko": r"[\uac00-\ud7a3]"}
ENGLISH_WORDS = re.compile(r"\b(the|of|is|are|and|what|with|which|where|its|from)\b", re.IGNORECASE)

every_language = pytest.mark.parametrize("language", locales.LANGUAGES)


@pytest.fixture(scope="module")
def english():
    return json.loads(locales.definitions_file("en").read_text("utf-8"))


def untranslated(english, table, language):
    """The texts that say in a language just what they say in English, or nothing in its script."""
    texts = {sentence: table[sentence] for sentence in locales.sentences(english) if sentence not in TAKEN_OVER}
    if language in SCRIPTS:
        return [text for text in texts.values() if not re.search(SCRIPTS[language], text)]
    same = [text for sentence, text in texts.items() if text.casefold() == sentence.casefold()]
    same = [text for text in same if text not in TAKEN_OVER_IN[language]]
    return same + [text for text in texts.values() if ENGLISH_WORDS.search(text)]


def names_of_nodes(sentence, english):
    """Our nodes that a sentence names; of `Load Paint by Example` not `Paint by Example`, which is also a method."""
    for name in sorted((node["display_name"] for node in english.values()), key=len, reverse=True):
        if name in sentence:
            yield name
            sentence = sentence.replace(name, "")


def test_english_texts_are_those_of_the_schemas(comfy):
    assert locales.definitions_file("en").read_text("utf-8") == locales.as_text(locales.node_definitions()), (
        "a text changed: run `python devtools/pack.py devtools.locales` in the development environment"
    )


@every_language
def test_all_is_translated_and_nothing_outdated_is_left(english, language):
    missing, superfluous = locales.gaps(english, locales.table(language))
    assert (missing, superfluous) == ([], []), f"see {locales.TABLES / language}.json"


@every_language
def test_the_files_are_what_the_tables_say(english, language):
    written = locales.definitions_file(language).read_text("utf-8")
    assert written == locales.as_text(locales.translated(english, locales.table(language))), (
        "run `python devtools/pack.py devtools.locales` in the development environment"
    )


@every_language
def test_every_text_of_a_node_is_in_the_file(english, language):
    def places(part):
        return {key: places(value) for key, value in part.items() if value} if isinstance(part, dict) else None

    assert places(json.loads(locales.definitions_file(language).read_text("utf-8"))) == places(english)


@every_language
def test_nothing_is_left_in_english(english, language):
    assert untranslated(english, locales.table(language), language) == []


@every_language
def test_numbers_names_and_files_are_kept(language):
    for sentence, text in locales.table(language).items():
        numbers = r"\d+(?:\.\d+)?"
        lost = Counter(re.findall(numbers, sentence)) - Counter(re.findall(numbers, text))
        assert not lost, f"{text}: lacks {list(lost)}"
        if sentence in TAKEN_OVER or "_" in sentence.split()[0]:  # the name of an input
            continue
        for kept in [name for name in NAMES if name in sentence] + re.findall(r"[\w.-]+(?:/[\w.-]*\w)+", sentence):
            assert kept.casefold() in text.casefold(), f"{text}: lacks {kept}"


@every_language
def test_nodes_are_named_as_they_are_called_there(english, language):
    table = locales.table(language)
    for sentence, text in table.items():
        for name in names_of_nodes(sentence, english):
            assert table[name] in text, f"{text}: lacks {table[name]}"


@every_language
def test_choices_are_named_as_the_widget_shows_them(english, language):
    """The front end translates the name of an input but not what can be chosen."""
    table = locales.table(language)
    choices = 0
    for node, sockets in json.loads(SCHEMAS.read_text("utf-8")).items():
        for item in sockets["inputs"]:
            sentence = english[node]["inputs"][item["id"]]["tooltip"]
            for option in item["options"] if isinstance(item.get("options"), list) else []:
                if re.search(rf"\b{re.escape(option)}\b", sentence):
                    choices += 1
                    assert option in table[sentence], f"{table[sentence]}: lacks {option}"
    assert choices > 20


@every_language
def test_a_setting_is_named_as_the_node_shows_it(english, language):
    table = locales.table(language)
    settings = [
        (text, f"{table[name]} = {value}")
        for sentence, text in table.items()
        for name, value in re.findall(r"(\w+) = (\w+)", sentence)
    ]
    assert settings
    assert [(text, setting) for text, setting in settings if setting not in text] == []


@pytest.mark.parametrize("language", ("en", *locales.LANGUAGES))
def test_no_text_holds_what_the_translation_syntax_takes_for_a_command(language):
    """Braces, @, | and $ mean something in the front end's message format."""
    texts = locales.sentences(json.loads(locales.definitions_file(language).read_text("utf-8")))
    assert texts
    assert [text for text in texts if set(text) & set("{}@|$")] == []


def test_a_changed_tooltip_is_seen_as_missing_and_as_outdated(english):
    changed = deepcopy(english)
    was = changed["UndoFit"]["inputs"]["fit"]["tooltip"]
    changed["UndoFit"]["inputs"]["fit"]["tooltip"] = "Another text."
    assert locales.gaps(changed, locales.table("de")) == (["Another text."], [was])


def test_a_text_without_a_translation_is_left_to_the_node(english):
    table = locales.table("fr")
    del table[english["UndoFit"]["description"]]
    definitions = locales.translated(english, table)
    assert "description" not in definitions["UndoFit"]
    assert definitions["UndoFit"]["display_name"] == "Annuler l'adaptation"


def test_a_text_left_in_english_is_found(english):
    sentence = english["UndoFit"]["description"]
    for language in locales.LANGUAGES:
        assert sentence in untranslated(english, locales.table(language) | {sentence: sentence}, language)
