"""Texts with a secret in them, one leak a row, and texts beside them in which there is none."""

import base64
import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.hiding import LONGEST_PATH
from comparators.model import Difference, Kind
from comparators.redaction import Redactor
from comparators.secrets import MARK, is_secret_name

REDACTOR = Redactor(b"k" * 32)
CARD = "4111111111111111"
SPACED = "4111 1111 1111 1111"
IN_JSON = json.dumps({"password": 'correct "horse", battery', "shown": "plain"})

# The text, and what of it must not be seen.
LEAKS = (
    # Names with words in front of them, in URLs, headers, settings and logs.
    ("https://x/reset?reset_token=hunter2&lang=de", "hunter2"),
    ("https://x/reset?lang=de&userToken=hunter2", "hunter2"),
    ("https://x/?user[password]=hunter2", "hunter2"),
    ("https://x/?next=%2Fy%3Freset_token%3Dhunter2", "hunter2"),
    ("/y%3Fpin%3Dhunter2%26a%3Db", "hunter2"),
    ("https://x/cb?code=SplxlOBeZQQYbYS6&lang=de", "SplxlOBeZQQYbYS6"),
    ("https://b.example/k?X-Amz-Signature=fe5f80f77d5fa3", "fe5f80f77d5fa3"),
    ("https://b.example/k?sv=1&sig=abc123DEF", "abc123DEF"),
    ("X-Api-Key: hunter2", "hunter2"),
    ("API key: hunter2", "hunter2"),
    ("DATABASE_PASSWORD=hunter2", "hunter2"),
    ("AWS_SECRET_ACCESS_KEY=hunter2/hunter", "hunter"),
    ("spring.datasource.password=hunter2", "hunter2"),
    ("tool --db-password=hunter2 run", "hunter2"),
    ("db_password: correct horse battery", "horse"),
    ("password = correct horse battery", "horse"),
    ("secrets:\n  db: hunter2\nname: x", "hunter2"),
    ("tokens:\n- hunter2\n- other\nname: x", "hunter2"),
    ("Authorization: Token hunter2", "hunter2"),
    ("Authorization: AWS4-HMAC-SHA256 Credential=A/b, Signature=5d672d79c15b", "5d672d79c15b"),
    ("postgres://user:p@ss/w@host/db", "ss/w"),
    ("Login(password=hunter2, user=x)", "hunter2"),
    ("password=b'hunter2'", "hunter2"),
    ("{'password' => 'hunter2'}", "hunter2"),
    # JSON in texts, however it is written there.
    (IN_JSON, "horse"),
    (IN_JSON, "battery"),
    (json.dumps(IN_JSON), "battery"),
    (json.dumps(json.dumps(IN_JSON)), "battery"),
    ('{"newPassword":"hunter2"}', "hunter2"),
    ('{"user_password" : "hunter2"}', "hunter2"),
    ('{"tokens":["a","hunter2"]}', "hunter2"),
    ('{"token":{"value":"hunter2"}}', "hunter2"),
    ('{"token":{"a":"}","value":"hunter2"}}', "hunter2"),
    ('{"password":\n  "hunter2"}', "hunter2"),
    ('{"password":"hunter2', "hunter2"),
    ('{"password":"ends with \\\\","pin":"hunter2"}', "hunter2"),
    ('{"name":"password","value":"hunter2"}', "hunter2"),
    ('{"value":"hunter2","name":"password"}', "hunter2"),
    ('{"pin":12345678}', "12345678"),
    ("%7B%22password%22%3A%22hunter2%22%7D", "hunter2"),
    ("&quot;password&quot;:&quot;hunter2&quot;", "hunter2"),
    ("var apiSecret = 'hunter2';", "hunter2"),
    ('window.cfg={"stripeSecretKey":"hunter2"}', "hunter2"),
    # Markup in texts.
    ("<!-- db_password=hunter2 -->", "hunter2"),
    ('<a href="/y?reset_token=hunter2">', "hunter2"),
    ("<password>hunter2</password>", "hunter2"),
    ("a <password>hunter2", "hunter2"),
    ("<a><password>\nhunter2\n", "hunter2"),
    ("<a><s:secret><deep>x</deep>hunter2</s:secret></a>", "hunter2"),
    ("&lt;password&gt;hunter2&lt;/password&gt;", "hunter2"),
    ('<entry key="apiKey">hunter2</entry>', "hunter2"),
    ('<input name="csrf_token" value="hunter2">', "hunter2"),
    # Columns.
    ("id,email_password\n1,hunter2\n", "hunter2"),
    ('id;password;x\n1;"hunter;hunter2";y\n', "hunter2"),
    # Numbers of cards beside other digits, however they are grouped.
    (f"Card {SPACED} 12/27", SPACED),
    (f"{CARD} 12/27", CARD),
    (f"{CARD} 123", CARD),
    (f"1 {CARD}", CARD),
    (f"2024 {SPACED}", SPACED),
    (f"order 12 {CARD} ok", CARD),
    (f"pan_{CARD}", CARD),
    (f"card{CARD}", CARD),
    (f"{CARD}USD", CARD),
    (f"{CARD}.00", CARD),
    (f"{CARD}.{CARD}", CARD),
    (f"%3D{CARD}", CARD),
    (f"%20{CARD}", CARD),
    (f"\\u00a0{CARD}", CARD),
    ("4111.1111.1111.1111", "1111.1111"),
    ("4111\u00a01111\u00a01111\u00a01111", "1111\u00a01111"),
    ("4111%201111%201111%201111", "1111%201111"),
    ("4111+1111+1111+1111", "1111+1111"),
    ("3782 822463 10005 12/27", "822463"),
    ("de89370400440532013000", "370400440532013000"),
    ("AT61 1904 3002 3457 3201 EURO 12", "1904 3002"),
    # E-mail addresses.
    ("/api/orders/jane%40example.com", "jane%40example.com"),
    ("/api/orders/jane@example.com", "jane@example.com"),
    ('"jane doe"@example.com', "jane doe"),
    ("jan\u00e9@ex\u00e4mple.de", "ex\u00e4mple"),
    # Tokens and keys of a known form.
    ("eyJhbGciOiJSU0Et.aaaaaa.bbbbbb.ccccccc.ddddddd", "ddddddd"),
    ("x=eyJhbGciOiJSU0Et.aaaaaa.bbbbbb.ccccccc.ddddddd", "ccccccc"),
    ("github_pat_11ABCDEFG0abcdefghijkl_mnop", "ABCDEFG0"),
    ("glpat-abcdefghij1234567890", "abcdefghij"),
    ("whsec_abcdefghijklmnop123456", "abcdefghij"),
    ("sk-proj-abcdefghijklmnop123456", "abcdefghij"),
    ("npm_abcdefghijklmnop1234567890abcdefghij", "abcdefghij"),
    ("https://hooks.slack.com/services/T000/B000/abcdefghij", "abcdefghij"),
    ("ya29.abcdefghijklmnopqrstuvw", "abcdefghij"),
    ("hvs.abcdefghijklmnopqrstuvw", "abcdefghij"),
    ("bot 123456789:AAabcdefghijklmnopqrstuvwxyz123456", "abcdefghij"),
    ("root:$6$salt$abcdefghijklmnop:19000:0:", "abcdefghij"),
    ("$2b$12$abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQR", "abcdefghij"),
    # In base64.
    ("a=" + base64.b64encode(b"password=hunter2").decode(), "cGFzc3dvcmQ9aHVudGVyM"),
    (base64.b64encode(b'{"user":"x","apiKey":"hunter2?>"}').decode(), "aHVudGVyM"),
    (base64.urlsafe_b64encode(b'{"apiKey":"hunter2?>~~"}').decode().rstrip("="), "aHVudGVyM"),
    ("x: " + base64.b64encode(b"jane.doe@example.com").decode(), "amFuZS5kb2"),
    ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nabcdef\n-----END PGP PRIVATE KEY BLOCK-----", "cdef"),
)


@pytest.mark.parametrize(("text", "secret"), LEAKS)
def test_a_secret_in_a_text_is_hidden(text: str, secret: str) -> None:
    shown = REDACTOR.text(text)
    assert secret not in shown
    assert MARK in shown
    assert REDACTOR.text(shown) == shown
    stored = REDACTOR.body(text, "text")
    assert stored is not None
    assert secret not in stored
    assert secret not in json.dumps(REDACTOR.document({"a": [text]}), ensure_ascii=False)
    told = REDACTOR.show(Difference("header:location", Kind.HEADER, text, "x")).legacy
    assert told is not None
    assert secret not in json.loads(told + '"' * (told[-1:] == "\u2026"))


PLAIN = (
    *("author=jane", "tokenizer: bert", "passage=3", "the author: Jane Doe", "keyboard=qwerty"),
    *("order 4711 of 12.03.2026", "order_number=1234567890123456", "sort_key: name", "zip_code=1"),
    *("status_code=404&country_code=DE", '{"code":"not_found","key":"a"}', "errors: 12 of 13"),
    *("https://x/y?page=2&per_page=10", "https://example.com:8080/@jane", "error code=12"),
    *("{'author': 'x', 'passenger': 'y'}", '{"name":"title","value":"Dune"}', "a < b > c"),
    *("<author>Jane</author>", "<passage>text</passage>", "id,author\n1,Jane\n"),
    *("52.520008 13.404954", "0.4111111111111111", "2026-11-29 20:01:24 2026-12-24 08:00:00"),
    *("550e8400-e29b-41d4-a716-446655440000", "1764446484123456789", "+49 30 1234567 89"),
    *("heyJoe.example-domain", "sk-learn is a library", "eyJ is no token", "a@b", "see @jane"),
    *(
        base64.b64encode(b"nothing of this is any secret").decode(),
        "internationalization/of/things",
    ),
    *("primary_key: 12", "C:\\temp\\new: 1", "12:30:00", "::1", "a := b", "namespace std::token"),
)


@pytest.mark.parametrize("text", PLAIN)
def test_a_text_without_any_stays_as_it_is(text: str) -> None:
    assert REDACTOR.text(text) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://x/reset?reset_token=hunter2&lang=de", "&lang=de"),
        (IN_JSON, '"shown": "plain"}'),
        ("secrets:\n  db: hunter2\nname: x", "\nname: x"),
        ("<a><password>hunter2</password><b>kept</b></a>", "</password><b>kept</b></a>"),
        ("id,password,name\n1,hunter2,kept\n", ",kept\n"),
        ("/api/orders/jane%40example.com/items", "/items"),
    ],
)
def test_what_stands_beside_one_is_still_seen(text: str, kept: str) -> None:
    assert REDACTOR.text(text).endswith(kept)


SECRET_NAMES = (
    *("authtoken", "clientsecret", "userpassword", "cardnumber", "creditcard", "apiKeys"),
    *("passwordhash", "csrfmiddlewaretoken", "auth", "mfa_code", "encryptionKey", "taxid"),
    *("passport", "passportNumber", "bearertoken", "sessionkey", "recovery_code", "backupCodes"),
    *("securityAnswer", "api_keys", "private-keys", "apikeyv2", "bankAccount", "pass", "ccNumber"),
    *("DB_PASS", "smtpPass", "root_pw", "rootpw", "requirepass", "accountNo", "card_no", "cpf"),
    *("consumer_key", "preSharedKey", "seedPhrase", "authcode", "steuerId", "webhook_url", "psk"),
    # In other languages and letters, and in letters that look like these.
    *(
        "mot de passe",
        "contrase\u00f1a",
        "Contrase\u00f1aNueva",
        "has\u0142o",
        "\u015fifre",
        "wachtwoord",
    ),
    *(
        "\u043f\u0430\u0440\u043e\u043b\u044c",
        "\u5bc6\u7801",
        "\u65b0\u5bc6\u78bc",
        "\u30d1\u30b9\u30ef\u30fc\u30c9",
        "\ube44\ubc00\ubc88\ud638",
    ),
    *(
        "p\u0430ssword",
        "\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44",
        "passw\u00f6rd",
        "pass\u200bword",
        "t\u03bfken",
    ),
    *("x-auth-user", "connectionString", "code_verifier", "JWTs", "x" * 500 + "_password"),
)
PLAIN_NAMES = (
    *("author", "authority", "tokenizer", "tokenized", "passage", "passenger", "bypass", "compass"),
    *("passRate", "pinned", "shipping", "order_number", "keyboard", "monkey", "sortKey", "keynote"),
    *("primary_key", "statusCode", "country_code", "possession", "obsession", "secretary", "x"),
    *("season_pass", "boarding pass", "cardNote", "appKeyboard", "word"),
    *("\u043f\u0430\u0440\u043a", "\u5bc6\u5ea6", "caf\u00e9", "na\u00efve", "\u03b1\u03b2\u03b3"),
    *("cardinal", "discard", "accounting", "account", "license", "signatureless", "spinner"),
)


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_names_of_what_is_none(name: str) -> None:
    assert not is_secret_name(name)


def test_a_key_of_an_object_is_a_text_too() -> None:
    shown = REDACTOR.show(Difference(f"$.users.user_{CARD}.age", Kind.VALUE, 1, 2))
    assert CARD not in shown.path
    assert CARD not in REDACTOR.path(f"$.users.user_{CARD}.age")
    assert CARD not in str(REDACTOR.document({f"user_{CARD}": 1}))


def test_the_path_of_a_request_shows_no_address() -> None:
    target = REDACTOR.target("/api/orders/jane%40example.com/items?x=1")
    assert target.startswith("/api/orders/" + MARK)
    assert target.endswith("/items")


WRITTEN: dict[str, Callable[[str], str]] = {
    "json": json.dumps,
    "object": lambda text: json.dumps({"n": text}),
    "html": html.escape,
    "url": lambda text: "?next=" + quote(text),
}


@given(
    st.sampled_from(("password", "user_password", "apiKey", "tokens", "pin", "X-Api-Key")),
    st.text(st.sampled_from("ab\" \\'\n\t,:{}[]<>&;=\u00e9/%\u2028"), max_size=6),
    st.sampled_from(("text", "array", "object")),
    st.sampled_from(("y", "a\\", "it's", 'q"')),
    st.lists(st.sampled_from(("json", "object", "html")), max_size=3),
    st.booleans(),
    st.sampled_from((None, 2)),
)
def test_however_json_is_written_in_a_text(
    name: str,
    middle: str,
    form: str,
    before: str,
    written: list[str],
    url: bool,
    indent: int | None,
) -> None:
    secret = f"HUNTER{middle}SECOND"
    value = {"text": secret, "array": [secret, "x"], "object": {"a": "}", "b": secret}}[form]
    text = json.dumps({"x": before, name: value, "z": 1}, indent=indent)
    for way in [*written, *(["url"] if url else [])]:
        text = WRITTEN[way](text)
    for end in (len(text), text.index("SECOND") + len("SECOND")):
        shown = REDACTOR.text(text[:end])
        assert "HUNTER" not in shown
        assert "SECOND" not in shown


# Paths


@pytest.mark.parametrize(
    "path",
    ["$" + ".a" * 3000, "$" + "[0]" * 3000, "$['" + "k" * 100_000 + "'].a", "header:" + "x" * 9000],
    ids=["keys", "items", "one key", "header"],
)
def test_a_path_is_no_longer_than_can_be_read(path: str) -> None:
    shown = REDACTOR.show(Difference(path, Kind.VALUE, 1, 2)).path
    assert len(shown) <= LONGEST_PATH
    assert shown == REDACTOR.path(path)
    assert shown[0] == path[0]


def test_cut_paths_of_other_places_are_other_paths() -> None:
    def path(middle: str) -> str:
        return REDACTOR.path("$" + ".a" * 500 + middle + ".b" * 500)

    assert path(".x") != path(".y")
    # As those of items are one signature, wherever they are.
    assert path("[1]") == path("[2]")
    assert path(".x").endswith(".b")


ONE_AFTER_THE_OTHER = (
    *("pin=", 'pin="', "pin={", "pin:\n", 'pin\\"=\\"', "value={name=pin,", "value=[", "<pin>"),
    *("&lt;pin&gt;", "%3C", "a.", "eyJ-", "eyJaaaaa.", "a%40", "sk-", "sk-a-", "4111-", "DE12"),
    *(
        "pin,a\n1,2\n",
        'pin,a\n"',
        "pin:\n  - a\n",
        "redacted:0123456789ab",
        "pin=f(",
        "\\",
        "[[",
        "%5C",
        "%26",
        'pin="\\',
    ),
)


@pytest.mark.parametrize("text", ONE_AFTER_THE_OTHER)
def test_many_of_them_cost_no_more_than_their_length(text: str) -> None:
    many = "x" + text * (200_000 // len(text))
    begun = time.process_time()
    REDACTOR.text(many)
    assert time.process_time() - begun < 3.0
