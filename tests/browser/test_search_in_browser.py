"""Forty-two searches typed into the real front end, one after the other."""

import pytest

from visual_insertion_pack.tests.artist_words import FOUND_NOTHING, WORDS

SHOWN = """() => [...document.querySelectorAll('[data-testid=result-item]')].map(item => item.innerText.trim())"""


@pytest.fixture(scope="module")
def results(opened, server):
    """By word: the places, from 0, that nodes of ours have in the list that the front end offers."""
    info = server.object_info()
    ours = {known["display_name"] for known in info.values() if known["category"] == "visual insertion"}
    page = opened.page
    opened.show_graph({"1": {"class_type": "PlayroomModels", "inputs": {}}}, "search")
    field = opened.search((1000, 850))
    places = {}
    for word in WORDS:
        field.fill(word)
        page.wait_for_timeout(500)  # the list follows a moment after the typing
        names = [text.splitlines()[0].strip() if text else "" for text in page.evaluate(SHOWN)]
        places[word] = [place for place, name in enumerate(names) if name in ours]
    page.keyboard.press("Escape")
    return places


@pytest.mark.parametrize("word", WORDS)
def test_an_artists_words_find_a_node_of_ours(results, word):
    assert results[word]


@pytest.mark.parametrize("word", FOUND_NOTHING)
def test_where_nothing_was_found_ours_come_first(results, word):
    assert results[word][0] == 0
