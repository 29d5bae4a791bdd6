"""Redacted fields and built-in secrets where the two answers are not the same readable kind."""

import hashlib
import json

import pytest

from comparators import Answer, Kind, Rules, compare, compile_rules
from comparators.compare import content_of
from comparators.model import Difference
from comparators.redaction import Redactor
from comparators.showing import show_all
from tests.harness.taking import least_cpu_s

KEY = b"k" * 32
JSON = "application/json"
TEXT = "text/plain"
HTML = "text/html"
XML = "text/xml"
CSV = "text/csv"
PARTS = "multipart/form-data; boundary=b"


def answer(kind: str, body: str) -> Answer:
    return Answer(200, (("Content-Type", kind),), body.encode())


def told(legacy: Answer, new: Answer, rules: Rules) -> tuple[str, str]:
    """All that is shown of their differences, and all that is kept of their bodies."""
    redactor = Redactor(KEY, rules.redact, rules.rename)
    found = compare(legacy, new, compile_rules(rules))
    assert found.differences
    shown = show_all(found.differences, legacy, new, redactor)
    assert len(shown) == len(found.differences)
    bodies = [
        redactor.body(content.text or "", content.kind)
        for content in (content_of(each) for each in (legacy, new))
    ]
    return str(shown), str(bodies)


def part(name: str, body: str, kind: str = TEXT) -> str:
    head = f'Content-Disposition: form-data; name="{name}"\r\nContent-Type: {kind}\r\n\r\n'
    return f"--b\r\n{head}{body}\r\n--b--\r\n"


ANN = '{"name":"Ann Secret"}'
PRETTY = json.dumps({"a": 1, "tokens": ["Ann Secret"], "pin": {"x": "Ann Secret"}}, indent=2)

# Type and body of legacy, of new, and the rules; "Ann Secret" must not be seen.
CASES: tuple[tuple[str, tuple[str, str], tuple[str, str], dict[str, object]], ...] = (
    ("html instead", (JSON, ANN), (HTML, "<p>x</p>"), {"redact": ("$.name",)}),
    ("html that shows it", (JSON, ANN), (HTML, "<p>Ann Secret</p>"), {"redact": ("$.name",)}),
    ("text instead", (JSON, ANN), (TEXT, ANN + " "), {"redact": ("$.name",)}),
    ("cut off", (JSON, ANN), (JSON, ANN[:-1]), {"redact": ("$.name",)}),
    ("text on both sides", (TEXT, ANN), (TEXT, ANN + "x"), {"redact": ("$.name",)}),
    ("with text", (JSON, ANN), (JSON, ANN + " x"), {"redact": ("$.name",), "with_": "text"}),
    ("with xml", (JSON, ANN), (JSON, ANN + " x"), {"redact": ("$.name",), "with_": "xml"}),
    (
        "malformed xml",
        (XML, "<o><name>Ann Secret</name><a>1</a>"),
        (XML, "<o><name>Ann Secret</name><a>2</a></o>"),
        {"redact": ("$.o[0].name",)},
    ),
    ("moved", (JSON, ANN), (JSON, f'{{"customer":{ANN}}}'), {"redact": ("$.name",)}),
    (
        "moved and spelled otherwise",
        (JSON, '{"full_name":"Ann Secret"}'),
        (JSON, '{"customer":{"fullName":"Ann Secret"}}'),
        {"redact": ("$.full_name",)},
    ),
    (
        "moved and renamed",
        (JSON, '{"full":"Ann Secret","a":1}'),
        (JSON, '{"x":{"name":"Ann Secret"},"a":2}'),
        {"redact": ("$.full",), "rename": {"$.full": "$.name"}},
    ),
    (
        "object for list",
        (JSON, f'{{"p":[{ANN}]}}'),
        (JSON, f'{{"p":{ANN}}}'),
        {"redact": ("$.p[*].name",)},
    ),
    (
        "list for object",
        (JSON, f'{{"p":{ANN}}}'),
        (JSON, f'{{"p":[{ANN}]}}'),
        {"redact": ("$.p.name",)},
    ),
    (
        "text for object",
        (JSON, f'{{"p":{ANN}}}'),
        (JSON, '{"p":"Ann Secret"}'),
        {"redact": ("$.p.name",)},
    ),
    (
        "texts for objects",
        (JSON, f'{{"p":[{ANN}]}}'),
        (JSON, '{"p":["Ann Secret"]}'),
        {"redact": ("$.p[*].name",)},
    ),
    (
        "texts for an object",
        (JSON, f'{{"p":{ANN}}}'),
        (JSON, '{"p":["Ann Secret"]}'),
        {"redact": ("$.p.name", "$..x")},
    ),
    (
        "object for items",
        (JSON, '{"p":["Ann Secret"]}'),
        (JSON, '{"p":{"x":"Ann Secret"}}'),
        {"redact": ("$.p[*]",)},
    ),
    ("text for all", (JSON, ANN), (JSON, '"Ann Secret"'), {"redact": ("$.name",)}),
    ("object for all", (JSON, f"[{ANN}]"), (JSON, ANN), {"redact": ("$[*].name",)}),
    ("in a text of JSON", (JSON, ANN), (JSON, json.dumps({"x": ANN})), {"redact": ("$.name",)}),
    (
        "part of text",
        (PARTS, part("d", ANN)),
        (PARTS, part("d", ANN + "x")),
        {"redact": ("$.part.d.name",)},
    ),
    (
        "part of JSON and text",
        (PARTS, part("d", ANN, JSON)),
        (PARTS, part("d", ANN)),
        {"redact": ("$.part.d.name",)},
    ),
    (
        "part renamed",
        (PARTS, part("d", "Ann Secret")),
        (PARTS, part("e", "Ann Secret!")),
        {"redact": ("$.part.d",)},
    ),
    # What is secret by its name, or by the one beside it.
    (
        "named beside it",
        (JSON, '[{"name":"x"},{"name":"password","value":"Ann Secret"}]'),
        (JSON, '[{"name":"x"},{"name":"password","value":"Ann Secret!"}]'),
        {},
    ),
    (
        "named beside it in xml",
        (XML, "<o><e key='pin'>Ann Secret</e><e>x</e></o>"),
        (XML, "<o><e key='pin'>Ann Secret!</e><e>x</e></o>"),
        {},
    ),
    (
        "named beside it in html",
        (HTML, "<p id='apiKey'>Ann Secret<b>x</b>Ann Secret</p>"),
        (HTML, "<p id='apiKey'>Ann Secret!<b>x</b>Ann Secret</p>"),
        {},
    ),
    (
        "part of a secret name",
        (PARTS, part("pw", "Ann Secret")),
        (PARTS, part("q", "Ann Secret!")),
        {},
    ),
    (
        "secret renamed",
        (PARTS, part("q", "Ann Secret")),
        (PARTS, part("password", "Ann Secret!")),
        {},
    ),
    (
        "secret of malformed xml",
        (XML, "<password>Ann Secret"),
        (XML, "<password>Ann Secret</x>"),
        {},
    ),
    (
        "secret over lines",
        (XML, "<o><password>\nAnn Secret\n"),
        (XML, "<o><password>\nAnn Secret!\n"),
        {},
    ),
    ("secrets over lines", (JSON, PRETTY), (TEXT, PRETTY + "\nx"), {}),
    ("secrets over lines, html", (JSON, PRETTY), (HTML, "<p>x</p>"), {}),
    ("secrets over lines, text", (TEXT, PRETTY), (TEXT, PRETTY.replace(" Secret", " Secret!")), {}),
    ("secrets cut off", (JSON, PRETTY), (TEXT, PRETTY[:50]), {"with_": "text"}),
    ("column", (CSV, "id,pin\n1,Ann Secret"), (CSV, "id,pin\n1,Ann Secret!"), {}),
    ("ndjson cut off", ("application/x-ndjson", '{"pin":"Ann Secret"}\n{'), (TEXT, "Ann"), {}),
)


@pytest.mark.parametrize(
    ("legacy", "new", "rules"), [each[1:] for each in CASES], ids=[each[0] for each in CASES]
)
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_no_value_of_it_is_seen(
    legacy: tuple[str, str], new: tuple[str, str], rules: dict[str, object], turned: bool
) -> None:
    sides = answer(*legacy), answer(*new)
    if turned and "rename" not in rules:
        sides = sides[::-1]
    shown, kept = told(*sides, Rules(**rules))  # type: ignore[arg-type]
    assert "Ann Secret" not in shown
    assert "Ann Secret" not in kept


def test_what_is_no_secret_is_shown() -> None:
    legacy, new = answer(JSON, '{"a":1}'), answer(TEXT, "plain words")
    shown, kept = told(legacy, new, Rules())
    assert "plain words" in shown
    assert "plain words" in kept
    shown, kept = told(legacy, new, Rules(redact=("$.line[7]",)))
    assert "plain words" in shown
    assert "plain words" in kept
    shown, _ = told(
        answer(JSON, '{"p":{"name":"x"},"q":"shown 1"}'),
        answer(JSON, '{"p":null,"q":"shown 2"}'),
        Rules(redact=("$.p.name",)),
    )
    assert "shown 1" in shown
    assert "null" in shown


def test_a_line_that_is_secret_in_one_place_is_so_in_all() -> None:
    body = '{"tokens": [\n"Ann Secret"\n],\n"names": [\n"Ann Secret"\n]'
    shown, _ = told(answer(TEXT, body), answer(TEXT, "x"), Rules())
    assert "Ann Secret" not in shown
    assert "names" in shown


@pytest.mark.parametrize("path", ["body", "$.all", "$"])
def test_what_a_comparator_of_the_users_own_says_is_hidden_where_no_rule_can_be_followed(
    path: str,
) -> None:
    redactor = Redactor(KEY, ("$.all.name", "$.name"))
    found = Difference(path, Kind.VALUE, "Ann Secret", 5)
    assert "Ann Secret" not in str(redactor.show(found))


def test_why_a_body_cannot_be_read_is_told_with_rules_too() -> None:
    shown, _ = told(answer(JSON, ANN), answer(JSON, "{"), Rules(redact=("$.name",)))
    assert "Expecting" in shown or "unexpected" in shown


@pytest.mark.parametrize(
    ("rule", "body", "hidden"),
    [
        ("$.p.name", {"q": [{"Name": 1}]}, {"q": [{"Name": "#"}]}),
        ("$.tags[*]", {"tags": [1, 2]}, {"tags": ["#", "#"]}),
        ("$.tags[*]", {"x": {"tags": [1, 2]}}, {"x": {"tags": "#"}}),
        ("$.rows[*][1]", {"rows": [[1, 2]], "x": [3, 4]}, {"rows": [[1, "#"]], "x": [3, 4]}),
        ("$.o[0].name[0].#text", {"name": 1, "text": 2}, {"name": "#", "text": 2}),
        ("$..id", {"a": {"b": [{"id": 1, "c": 2}]}}, {"a": {"b": [{"id": "#", "c": 2}]}}),
        ("$.a.b", {"a": None, "c": 1}, {"a": None, "c": 1}),
        ("$.a.b", {"a": 5, "c": 1}, {"a": "#", "c": 1}),
        ("$.s.*", {"s": {"x": 1}, "y": 2}, {"s": {"x": "#"}, "y": 2}),
    ],
)
def test_which_places_a_rule_hides(rule: str, body: object, hidden: object) -> None:
    redactor = Redactor(KEY, (rule,))
    told = json.dumps(redactor.document(body))
    for value in (1, 2, 5, [1, 2]):
        told = told.replace(f'"{redactor.hashed(value)}"', '"#"')
    assert json.loads(told) == hidden


def test_a_digest_cannot_be_tried_out_without_the_key() -> None:
    shown, _ = told(
        answer(JSON, '{"pin":1234}'), answer(JSON, '{"pin":1235}'), Rules(with_="binary")
    )
    for pin in (1234, 1235):
        assert hashlib.sha256(b'{"pin":%d}' % pin).hexdigest()[:8] not in shown
    assert "12 bytes" in shown
    assert "first differing byte at 10" in shown


def test_in_html_without_elements_no_rule_can_be_followed() -> None:
    shown, _ = told(
        answer(HTML, '[[1,"Ann Secret"]]'), answer(HTML, "[[1]]"), Rules(redact=("$[*][1]",))
    )
    assert "Ann Secret" not in shown


def test_of_a_large_text_no_line_is_shown_and_it_takes_no_time() -> None:
    def show(size: int) -> None:
        body = '{"tokens": [\n' + '"x",\n' * (size // 5) + '"Ann Secret"\n'
        shown, _ = told(answer(TEXT, body), answer(TEXT, body + "x"), Rules(with_="text"))
        assert "Ann Secret" not in shown
        redactor = Redactor(KEY)
        repeated = "word pin=" + "Ann,Secret;x " * (size // 2)
        text = redactor.show(Difference("$.a", Kind.VALUE, repeated, "b" * (5 * size))).legacy or ""
        assert "Ann,Secret" not in text[:30]
        assert "Ann,Secret" in text[30:]
        assert "Ann" not in str(redactor.show(Difference("$.a", Kind.VALUE, "pin={Ann" * size, 1)))

    # Ten times as long: four to ten times the time, and not a hundred times.
    assert least_cpu_s(lambda: show(10**6), 1) < 25 * least_cpu_s(lambda: show(10**5), 2)


def test_a_value_that_nothing_beside_it_names_is_shown() -> None:
    def field(value: str) -> Answer:
        return answer(
            JSON, json.dumps([{"name": "pin", "value": 1}, {"name": "x", "value": value}])
        )

    shown, _ = told(field("shown 1"), field("shown 2"), Rules())
    assert "shown 1" in shown
    assert "shown 2" in shown


def test_lines_stay_lines_in_a_text_that_is_kept() -> None:
    body = 'a\n{"tokens": [\n  "Ann Secret",\n\n  "x"\n], "b": 1}\nc'
    kept = Redactor(KEY).body(body, "text") or ""
    assert "Ann Secret" not in kept
    assert kept.count("\n") == body.count("\n")
    assert kept.endswith(', "b": 1}\nc')
    assert Redactor(KEY).body(kept, "text") == kept


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_rules_for_lines_count_them_as_they_are_compared(ends: str) -> None:
    body = ends.join(("a\u2028b\x0cc", '{"tokens": [', '"hunter2"', "]}", "Ann Secret", "e"))
    rules = Rules(redact=("$.line[5]",))
    other = body.replace("hunter2", "huntfr2")[:-1] + "f"
    shown, kept = told(answer(TEXT, body), answer(TEXT, other), rules)
    for secret in ("Ann Secret", "hunter2", "huntfr2"):
        assert secret not in shown
        assert secret not in kept
    assert "a\\u2028b" in kept
    assert "'f'" in shown or '"f"' in shown
