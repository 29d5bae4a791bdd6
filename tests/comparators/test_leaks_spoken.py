"""Secrets in what people write, with no sign that says where a value begins."""

import time

import pytest

from comparators.redaction import Redactor
from comparators.secrets import MARK

REDACTOR = Redactor(b"k" * 32)

# "hunter2" must not be seen.
LEAKS = (
    *("Your password is hunter2", "Your new password is: hunter2.", "The PIN for bob is hunter2"),
    *("Passwort lautet hunter2", "the password was changed to hunter2", "session eq hunter2"),
    *(
        'Your new password is "hunter2".',
        "Invalid password 'hunter2'",
        "password \u201chunter2\u201d",
    ),
    *("password hunter2", "login token hunter2 accepted", "API key hunter2", "token(hunter2)"),
    *("Password - hunter2", "Password -> hunter2", "token \u2192 hunter2", "password\uff1ahunter2"),
    *("**Password:** hunter2", "*Password*: `hunter2`", "password|hunter2", "token <hunter2>"),
    *(
        "verification code is hunter2",
        "hunter2 is your verification code",
        "use hunter2 as your PIN",
    ),
    # Programs and their settings.
    *("tool --password hunter2 run", "tool --db-token hunter2 run"),
    *(
        "ENV PASSWORD hunter2",
        "setx TOKEN hunter2",
        "requirepass hunter2",
        "enable secret 5 hunter2",
    ),
    *("CREATE USER bob WITH PASSWORD 'hunter2'", '(:password "hunter2")', "password != hunter2"),
    *("GRANT ALL ON x TO u IDENTIFIED BY 'hunter2'", "[secrets]\ndb = hunter2\n[other]\na = b"),
    *("machine api.x login bob password hunter2", "default login u password hunter2"),
    *("Password:\nhunter2\nName:\nbob", "? password\n: hunter2", "password =\n  hunter2"),
    *("machine h\n  login u\n  password hunter2\n", "machine h password hunter2"),
    *("/reset-password/hunter2abc/x", "/sessions/hunter2abc", "https://x/token/hunter2abc?a=1"),
)


@pytest.mark.parametrize("text", LEAKS)
def test_what_stands_behind_a_name_is_hidden(text: str) -> None:
    shown = REDACTOR.text(text)
    assert "hunter2" not in shown
    assert MARK in shown
    assert REDACTOR.text(shown) == shown


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("machine h login u password correct", "correct"),
        ("run --password correct --verbose", "correct"),
        ("Your PIN is 4711", "4711"),
        ("OTP 482911", "482911"),
        ("482911 is your Example verification code", "482911"),
        ('Your password is "correct horse".', "horse"),
    ],
)
def test_a_word_or_a_number_is_hidden_where_it_can_only_be_one(text: str, secret: str) -> None:
    assert secret not in REDACTOR.text(text)


PLAIN = (
    *(
        "Your password is required",
        "password is too short (at least 8 characters)",
        "token expired",
    ),
    *("the session is over", "Authentication failed", "cookies are case-sensitive", "PIN not set"),
    *("Unexpected token '}' in JSON", "secret santa", "a session of 30 minutes", "tokens 1 to 12"),
    *("`Host`, `Cookie`, `Accept2`", '["password", "sha256", "other"]', "/tokens/12", "/auth/v2/x"),
    *("password-reset, version2", "session\nabc123def", "the pin 12", "[author]\nname = x"),
    *(
        "- token list",
        "run --author jane",
        "machine login user password",
        "your order 4711 is ready",
    ),
)


@pytest.mark.parametrize("text", PLAIN)
def test_a_sentence_without_one_stays_as_it_is(text: str) -> None:
    assert REDACTOR.text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("password is ", "token token1 ", "pin 'x", "--pin a ", "a1 is your ", "machine a "),
        *("identified by ", "[pin]\n", "[pin]\na=b\n", "pin  " + "!" * 15, "pin is for ", "pin'"),
    ],
)
def test_many_of_them_cost_no_more_than_their_length(text: str) -> None:
    many = "x" + text * (200_000 // len(text))
    begun = time.process_time()
    REDACTOR.text(many)
    assert time.process_time() - begun < 3.0
