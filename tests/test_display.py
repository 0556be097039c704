"""What may be shown of octets that anybody may have written."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model import display


@given(st.text() | st.binary(), st.integers(1, 60))
def test_nothing_shown_acts_on_a_terminal_or_is_longer_than_asked(text: str | bytes, limit: int) -> None:
    shown = display(text, limit)
    assert all(char == " " or unicodedata.category(char)[0] not in "CZ" for char in shown)
    assert len(shown) <= limit + len("...")


@pytest.mark.parametrize(
    "char", ["\0", "\x1b", "\x7f", "\x85", "\x9b", "\u200b", "\u202e", "\u2066", "\ufeff", "\u2028", "\xa0"]
)
def test_control_escape_bidi_and_invisible_characters_become_visible(char: str) -> None:
    assert display(f"a{char}b") == "a" + char.encode("unicode_escape").decode("ascii") + "b"


def test_ordinary_text_is_shown_as_it_is_up_to_the_limit() -> None:
    assert display("né à 5 €, 日本, 👍") == "né à 5 €, 日本, 👍"
    assert display("abcdef", 6) == "abcdef"
    assert display("abcdefg", 6) == "abcdef..."


def test_what_becomes_visible_counts_towards_the_limit() -> None:
    assert display("\x1b" * 5, 8) == "\\x1b\\x1b..."
