"""Secrets where the place of a difference is told: keys of objects, names of cookies."""

import pytest

from comparators.model import Difference, Kind
from comparators.redaction import Redactor
from comparators.secrets import MARK

KEY = b"k" * 32
REDACTOR = Redactor(KEY, ("$.byName.*",))


@pytest.mark.parametrize(
    "path",
    [
        "$.tokens.hunter2",
        "$.sessions['hunter2'].user",
        "$.user.apiKeys[0].a.hunter2",
        "$.byName.hunter2",
        "$.x.byName.hunter2.age",
        "cookie:theme.hunter2",
        "cookie:connect.sid.hunter2",
        "$.secrets." + "hunter" * 6,
    ],
)
def test_a_key_below_a_secret_may_be_one(path: str) -> None:
    shown = REDACTOR.show(Difference(path, Kind.VALUE, 1, 2)).path
    assert "hunter" not in shown
    assert MARK in shown
    assert shown == REDACTOR.path(path)
    assert REDACTOR.path(shown) == shown


@pytest.mark.parametrize(
    "path",
    [
        "$.session.user.name",
        "$.tokens[3].expires_in",
        "$.line1.token",
        "$.hunter2.token",
        "cookie:connect.sid",
        "cookie:theme.path",
        "cookie:theme",
        "header:x-hunter2",
    ],
)
def test_the_name_of_a_field_is_shown(path: str) -> None:
    assert REDACTOR.path(path) == path


def test_two_such_keys_are_two_places() -> None:
    paths = [REDACTOR.path(f"$.tokens.hunter{number}") for number in (1, 2, 1)]
    assert paths[0] == paths[2] != paths[1]
