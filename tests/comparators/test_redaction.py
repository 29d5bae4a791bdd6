"""What is secret never comes out, wherever it stands; what is not stays readable."""

import json
import time
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.model import ABSENT, SHOWN_CHARACTERS, Difference, Kind
from comparators.redaction import Redactor
from comparators.secrets import MARK, is_secret_name

KEY = b"k" * 32
REDACTOR = Redactor(KEY)

SECRET_NAMES = (
    *("password", "userPassword", "PASSWD", "access_token", "refreshToken", "X-Api-Key", "apiKey"),
    *("client_secret", "sessionId", "JSESSIONID", "csrf-token", "private_key", "cardNumber", "cvv"),
    *("ssn", "iban", "pin", "otp", "Authorization", "cookie", "credit_card", "nationalId"),
)
PLAIN_NAMES = (
    *("pinned", "author", "tokenizer", "shipping", "name", "opinion", "spinner", "keyboard"),
    *("passenger", "cardinal", "assessment", "panel", "apiVersion", "secretary", "cookiecutter"),
)


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_what_goes_under_a_secret_name_is_one(name: str) -> None:
    assert is_secret_name(name)
    assert REDACTOR.document({"a": [{name: "hunter2"}]})["a"][0][name].startswith(MARK)
    difference = Difference(f"$.x['{name}']", Kind.VALUE, "hunter2", 1)
    assert "hunter2" not in str(REDACTOR.show(difference))


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_other_names_are_left_alone(name: str) -> None:
    assert REDACTOR.document({name: "value"}) == {name: "value"}


SHAPES = (
    *("4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"),
    *("123-45-6789", "DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19", "12345678Z"),
    *("X1234567L", "AB123456C", "jane.doe@example.org", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSM"),
    *("AKIAIOSFODNN7EXAMPLE", "ghp_0123456789abcdefghij0123456789", "255081416802538"),
)
NO_SHAPES = (
    *("1700000000000", "1234567890123456", "2026-01-01T00:00:00.123456Z", "123456789", "12345678A"),
    *("DE00370400440532013000", "a@b", "550e8400-e29b-41d4-a716-446655440000", "000-12-3456"),
    *("v1.2.3", "10.0.0.1:8080", "Order 4711 of 12.03.2026"),
)


@pytest.mark.parametrize("secret", SHAPES)
@pytest.mark.parametrize("text", ["{}", "id {} end", "/a/{}/b", '"{}"', "x={}", "({})", "a\n{}\nb"])
def test_a_secret_shape_is_found_in_any_text(secret: str, text: str) -> None:
    shown = REDACTOR.text(text.format(secret))
    assert secret not in shown
    assert MARK in shown


@pytest.mark.parametrize("text", NO_SHAPES)
def test_what_only_looks_a_little_like_one_is_left(text: str) -> None:
    assert REDACTOR.text(text) == text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abc.def-123", "abc.def-123"),
        ("see https://user:s3cret@host/x", "s3cret"),
        ("/login?user=a&password=hunter2&x=1", "hunter2"),
        ('{"token": "abc123"} in a string', "abc123"),
        ("-----BEGIN EC PRIVATE KEY-----\nMIGk\nabc\n-----END EC PRIVATE KEY-----", "MIGk"),
        ("api_key=xyz987; next", "xyz987"),
    ],
)
def test_credentials_in_running_text_are_found(text: str, secret: str) -> None:
    assert secret not in REDACTOR.text(text)


def test_equal_secrets_are_seen_to_be_equal_and_the_key_decides_how() -> None:
    show = REDACTOR.show(Difference("$.password", Kind.VALUE, "a", "b"))
    again = REDACTOR.show(Difference("$.other.password", Kind.VALUE, "b", "a"))
    assert (show.legacy, show.new) == (again.new, again.legacy)
    assert show.legacy != show.new
    other = Redactor(b"x" * 32).show(Difference("$.password", Kind.VALUE, "a", "b"))
    assert other.legacy != show.legacy


def test_numbers_lists_and_objects_are_secret_as_a_whole() -> None:
    for value in (4111, ["a"], {"x": "hunter2"}, None, True, 4.5, Decimal("1.5")):
        shown = REDACTOR.show(Difference("$.pin", Kind.VALUE, value, ABSENT))
        assert (shown.legacy or "").startswith(MARK)
        assert shown.new is None
    assert REDACTOR.document({"n": 4111111111111111})["n"].startswith(MARK)
    assert REDACTOR.document({"n": 1700000000000}) == {"n": 1700000000000}


def test_what_is_around_a_place_makes_it_secret_too() -> None:
    shown = REDACTOR.show(Difference("$.credentials[0].user", Kind.VALUE, "jane", "joe"))
    assert "jane" not in str(shown)


def test_the_rules_name_further_places() -> None:
    redactor = Redactor(KEY, ("$.user.nick", "$..hidden", "header:x-user"))
    assert redactor.document({"user": {"nick": "n", "name": "m"}, "a": [{"hidden": [1]}]}) == {
        "user": {"nick": redactor.hashed("n"), "name": "m"},
        "a": [{"hidden": redactor.hashed([1])}],
    }
    shown = redactor.show(Difference("$.user", Kind.MISSING, {"nick": "n"}, ABSENT))
    assert shown.legacy is not None
    assert '"n"' not in shown.legacy
    assert redactor.headers([("X-User", "jane")]) == (("X-User", redactor.hashed("jane")),)
    with pytest.raises(ValueError, match="unclosed"):
        Redactor(KEY, ("$[",))


def test_headers_and_cookies() -> None:
    redacted = dict(
        REDACTOR.headers(
            [
                ("Set-Cookie", "sid=abc; Path=/; HttpOnly"),
                ("Cookie", "a=1; b=two"),
                ("Authorization", "Basic dXNlcjpwdw=="),
                ("Location", "/x?token=abc123"),
                ("Content-Type", "text/plain"),
            ]
        )
    )
    assert redacted["Set-Cookie"].endswith("; Path=/; HttpOnly")
    text = str(redacted)
    for secret in ("abc", "two", "dXNlcjpwdw", "abc123"):
        assert secret not in text
    assert redacted["Content-Type"] == "text/plain"
    cookie = REDACTOR.show(Difference("cookie:sid", Kind.COOKIE, "abc", "def"))
    assert "abc" not in str(cookie)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("json", '{"a": {"password": "hunter2"}}'),
        ("json", '{"broken": "password=hunter2'),
        ("ndjson", '{"token": "hunter2"}\n{"a": 1}'),
        ("form", "user=a&password=hunter2"),
        ("xml", '<u password="hunter2"><token>hunter2</token></u>'),
        ("html", '<input name="x" pin="hunter2">'),
        ("text", "password: hunter2"),
    ],
)
def test_no_kind_of_body_lets_one_through(kind: str, body: str) -> None:
    shown = REDACTOR.body(body, kind)
    assert shown is not None
    assert "hunter2" not in shown
    assert REDACTOR.body("x", "binary") is None


def test_what_is_shown_cannot_steer_a_terminal_and_is_cut_after_redaction() -> None:
    shown = REDACTOR.show(Difference("$.a\x1b[31m", Kind.TEXT, "\x1b]0;x\x07\u202e\ud800", "b"))
    assert "\x1b" not in str(shown.path) + str(shown.legacy)
    assert "\u202e" not in str(shown.legacy)
    padding = "x" * (SHOWN_CHARACTERS - 10)
    cut = REDACTOR.show(Difference("$.a", Kind.VALUE, f"{padding} 4111111111111111", 1)).legacy
    assert cut is not None
    assert len(cut) <= SHOWN_CHARACTERS
    assert "4111" not in cut


def test_depth_does_not_matter() -> None:
    deep: Any = "hunter2"
    for _ in range(10_000):
        deep = {"password": deep} if deep == "hunter2" else [deep]
    assert "hunter2" not in str(REDACTOR.document(deep))
    assert "hunter2" not in str(REDACTOR.show(Difference("$.a", Kind.MISSING, deep, ABSENT)))


@given(
    st.sampled_from(SHAPES),
    st.lists(st.sampled_from(["list", "key", "object", "text", "url", "name"]), max_size=5),
)
def test_a_planted_secret_never_comes_out(secret: str, wraps: list[str]) -> None:
    value: Any = secret
    for wrap in wraps:
        match wrap:
            case "list":
                value = ["x", value]
            case "key":
                value = {secret: value}
            case "object":
                value = {"a": value, "b": 1}
            case "name":
                value = {"password": value}
            case "text":
                value = f"before {value} after" if isinstance(value, str) else value
            case "url":
                value = f"https://x/{value}?y=1" if isinstance(value, str) else value
    outputs = [
        json.dumps(REDACTOR.document(value)),
        str(REDACTOR.show(Difference(f"$.a['{secret}']", Kind.VALUE, value, secret))),
        REDACTOR.target(f"/a/{secret}/b"),
        str(REDACTOR.headers([("X-Any", str(value))])),
        REDACTOR.body(json.dumps(value), "json"),
        REDACTOR.body(f"a={quote(secret)}", "form"),
        REDACTOR.body(f"<a b='{secret}'>{secret}</a>", "xml"),
    ]
    for output in outputs:
        assert output is not None
        assert secret not in output


ANY_VALUE = st.recursive(
    st.text() | st.floats() | st.integers() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(ANY_VALUE)
def test_no_value_makes_it_raise_and_twice_is_once(value: Any) -> None:
    once = REDACTOR.document(value)
    assert repr(REDACTOR.document(once)) == repr(once)
    REDACTOR.show(Difference("$.a", Kind.VALUE, value, value))


@pytest.mark.parametrize(
    "text",
    [
        "a=" * 200_000,
        "-----BEGIN PRIVATE KEY-----" * 15_000,
        "1 " * 200_000,
        "1-" * 200_000,
        "@" * 400_000,
        "a@" * 200_000,
        "eyJ" * 130_000,
        "token" * 80_000,
        "password: " * 40_000,
        "A" * 400_000,
        "AB12 " * 80_000,
        "://a:" * 80_000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_text_costs_no_more_than_its_length(text: str) -> None:
    begun = time.process_time()
    REDACTOR.text(text)
    assert time.process_time() - begun < 3.0


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("pin=1&%e9=%e9&a=%ff", "&%E9=%E9&a=%FF"),
        ("pin=1&a=1&b=2&a=3", "&a=1&b=2&a=3"),
        ("pin=1&" + "&".join(f"f{number}=" for number in range(9_000)), "&f8999="),
        ("pin=1&a=\ud800", "&a=%3F"),
    ],
    ids=["no UTF-8", "twice", "many fields", "a surrogate"],
)
def test_a_form_is_kept_field_by_field(body: str, kept: str) -> None:
    shown = REDACTOR.body(body, "form")
    assert shown is not None
    assert shown.startswith("pin=redacted%3A")
    assert shown.endswith(kept)


@pytest.mark.parametrize(
    "text", ["Bearer -abcdefg://", "pin=redacted:0123456789abx", "Bearer 4111111111111111 x"]
)
def test_what_is_redacted_stays_so(text: str) -> None:
    once = REDACTOR.text(text)
    assert REDACTOR.text(once) == once
