"""What divergences are grouped by."""

import pytest

from comparators.redaction import Redactor
from proxy.core.divergences import wildcarded


@pytest.mark.parametrize(
    ("path", "general"),
    [
        ("$.items[3].price", "$.items[*].price"),
        ("$.users.42.name", "$.users.*.name"),
        ("$.a.550e8400-e29b-41d4-a716-446655440000", "$.a.*"),
        ("$.a['b c'].d", "$.a['b c'].d"),
        ("header:etag", "header:etag"),
        ("cookie:theme.redacted:0123456789ab", "cookie:theme.*"),
        ("$" + ".a" * 200, "$" + ".a" * 149 + "…"),
    ],
)
def test_what_is_an_index_or_an_id_is_a_star(path: str, general: str) -> None:
    assert wildcarded(path) == general


@pytest.mark.parametrize(
    "key", ["jane.doe@example.org", "it's jane.doe@example.org", "a 4111111111111111 b"]
)
def test_a_key_that_was_redacted_makes_no_signature_of_its_own(key: str) -> None:
    redactor = Redactor(b"k" * 32)
    escaped = key.replace("'", "\\'")
    shown = redactor.path(f"$.users['{escaped}'].name")
    assert wildcarded(shown) == "$.users.*.name"
