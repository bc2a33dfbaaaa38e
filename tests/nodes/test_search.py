"""What an artist types into the node search finds this pack.

The front end searches names, display names and aliases with Fuse, in which each typed word has to occur in the same
text, not far from its beginning: distance 100 at threshold 0.3 is 30 letters. Typing into the real one is
tests/browser/test_search_in_browser.py.
"""

import pytest

from visual_insertion_pack.devtools import locales
from visual_insertion_pack.tests.artist_words import WORDS

FARTHEST = 30  # letters


@pytest.fixture(scope="module")
def schemas(comfy):
    return [node.GET_SCHEMA() for node in locales.our_nodes()]


def found(schemas, search):
    def matches(text):
        starts = [text.lower().find(word) for word in search.lower().split()]
        return min(starts) >= 0 and max(starts) <= FARTHEST

    return [
        schema.node_id
        for schema in schemas
        if any(matches(text) for text in (schema.node_id, schema.display_name, *schema.search_aliases))
    ]


def test_there_are_forty_two_words_each_once():
    assert len(WORDS) == len(set(WORDS)) == 42


@pytest.mark.parametrize("word", WORDS)
def test_an_artists_words_find_a_node(schemas, word):
    assert found(schemas, word)


@pytest.mark.parametrize("word", ["insert object", "visual insertion"])
def test_the_packs_own_words_find_all_that_an_insertion_is_made_of(schemas, word):
    parts = {"ObjectImageEncode", "EmbeddingOptimizer", "ImageConditionedPix2PixSampler", "SceneDecode"}
    assert parts <= set(found(schemas, word))


def test_every_node_has_aliases_short_enough_to_be_found(schemas):
    assert [schema.node_id for schema in schemas if not schema.search_aliases] == []
    assert [alias for schema in schemas for alias in schema.search_aliases if len(alias) > FARTHEST] == []
