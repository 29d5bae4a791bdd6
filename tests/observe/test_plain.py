"""Nothing of a text steers what shows it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.observe.plain import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße, 世界", "Grüße, 世界"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("a\nb\x00\x7f\x9b", "a\\nb\\x00\\x7f\\x9b"),
        ("\u200b\ufeff\ud800", "\\u200b\\ufeff\\ud800"),
    ],
)
def test_what_steers_is_escaped(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_that_steers_is_left(text: str) -> None:
    shown = plain(text, kept="\n")
    assert not {unicodedata.category(c) for c in shown.replace("\n", "")} & {"Cc", "Cf", "Cs", "Zl"}
    assert shown.count("\n") == text.count("\n")
