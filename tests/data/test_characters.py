"""Characters as codes and windows of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise.core.errors import ArgumentError, DataError
from poise.data.characters import START, SYMBOL_CAP, UNKNOWN, CharacterEncoder

TEXT = "the cat and the hat, the rat and that"


def test_the_vocabulary_is_the_characters_that_occur_three_times_the_most_frequent_first() -> None:
    counts = Counter(TEXT)
    encoder = CharacterEncoder.fit(TEXT, 4)
    assert set(encoder.symbols) == {letter for letter, count in counts.items() if count >= 3}
    frequencies = [counts[letter] for letter in encoder.symbols]
    assert frequencies == sorted(frequencies, reverse=True)
    assert encoder.size == len(encoder.symbols) + 2


@given(st.text(alphabet="the cand,Z", min_size=1, max_size=60))
def test_known_characters_come_back_and_others_are_unknown(text: str) -> None:
    encoder = CharacterEncoder.fit(TEXT, 4)
    expected = "".join(letter if letter in encoder.symbols else "�" for letter in text)
    assert encoder.decode(encoder.encode(text)) == expected


@given(st.text(alphabet="the cand", min_size=1, max_size=60), st.integers(2, 9))
def test_windows_are_the_text_in_order_each_character_once(text: str, size: int) -> None:
    encoder = CharacterEncoder(CharacterEncoder.fit(TEXT, 4).symbols, size)
    whole = encoder.windows(text)
    assert encoder.decode(whole.reshape(-1)) == encoder.decode(encoder.encode(text[: len(text) // size * size]))
    every = encoder.windows(text, whole=False)
    assert every.shape == (-(-len(text) // size), size)
    assert encoder.decode(every.reshape(-1)) == encoder.decode(encoder.encode(text))  # what fills up is no character
    assert (every.reshape(-1)[len(text) :] == START).all()


def test_the_network_is_given_a_start_and_the_window() -> None:
    encoder = CharacterEncoder.fit(TEXT, 5)
    given_codes = encoder.transform("that hat")
    assert given_codes.shape == (2, 6)
    np.testing.assert_array_equal(given_codes[:, 0], START)
    np.testing.assert_array_equal(given_codes[:, 1:], encoder.windows("that hat", whole=False))


def test_of_too_many_characters_the_most_frequent_are_kept() -> None:
    letters = [chr(0x4E00 + number) for number in range(SYMBOL_CAP + 5)]
    encoder = CharacterEncoder.fit("".join(letters) * 3 + "".join(letters[10:]), 4)
    assert len(encoder.symbols) == SYMBOL_CAP
    assert set(letters[10:]) >= set(encoder.symbols) - set(letters[:10])
    assert encoder.encode(letters[9])[0] == UNKNOWN


def test_an_encoder_comes_back_from_its_state_and_damage_is_refused() -> None:
    encoder = CharacterEncoder.fit(TEXT, 5)
    facts, arrays = encoder.state()
    assert arrays == {}
    assert CharacterEncoder.from_state(facts, {}) == encoder
    for damage in ({"symbols": "aa"}, {"symbols": "a"}, {"window": 1}):
        with pytest.raises(ValueError, match="none that a fit makes"):
            CharacterEncoder.from_state(facts | damage, {})


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(DataError, match="has 1 characters that occur 3 times or more"):
        CharacterEncoder.fit("aaab", 4)
    with pytest.raises(ArgumentError, match=r"`CharacterEncoder.window` must be an int in 2 .. 1024"):
        CharacterEncoder.fit(TEXT, 1)
    encoder = CharacterEncoder.fit(TEXT, 4)
    with pytest.raises(DataError, match="the text is empty"):
        encoder.transform("")
    with pytest.raises(DataError, match="predicts a str; got 3"):
        encoder.transform(3)
