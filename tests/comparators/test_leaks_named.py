"""Secrets that something further out, or beside them, names: an element, an object, a part."""

import json

import pytest

from comparators import Answer, Rules, compare, compile_rules
from comparators.redaction import Redactor
from comparators.showing import show_all
from tests.comparators.test_leaks_across_kinds import (
    CSV,
    HTML,
    JSON,
    KEY,
    PARTS,
    TEXT,
    XML,
    answer,
    part,
    told,
)
from tests.harness.taking import least_cpu_s

NDJSON = "application/x-ndjson"
DEEP = '{"name":"password","value":{"a":["hunter2"]}}'

# Type and body; "hunter2" must not be seen, nor what stands in its place in the other answer.
BODIES = (
    # An element that is named a secret, further out.
    (HTML, '<div id="password"><span>hunter2</span></div>'),
    (HTML, '<div id="password"><p><b><i>hunter2</i></b></p></div>'),
    (HTML, '<div id="password"><p title="hunter2">a</p></div>'),
    (HTML, '<select name="pin"><option>hunter2</select>'),
    (XML, '<c><s name="password"><v>hunter2</v></s></c>'),
    # The element before it.
    (XML, "<c><param><name>password</name><value>hunter2</value></param></c>"),
    (XML, "<dict><key>password</key><string>hunter2</string><key>n</key><real>1</real></dict>"),
    (XML, "<dict><key>password</key>\n <array><string>hunter2</string></array></dict>"),
    (HTML, "<table><tr><th>Password:</th><td>hunter2</td></tr></table>"),
    (HTML, "<dl><dt>API key</dt><dd><b>hunter2</b></dd></dl>"),
    (HTML, "<label>Password</label><input type=text value=hunter2>"),
    (HTML, "<table><tr><td>Password</td><td>hunter2</td></tr></table>"),
    (HTML, "<p>Password: <b>hunter2</b></p>"),
    (HTML, "<p>Your new password is <b>hunter2</b></p>"),
    (HTML, "<p><b>Password:</b> hunter2</p>"),
    (HTML, "<p><b>Password</b>: hunter2</p>"),
    (HTML, "<p>Password:<br>hunter2</p>"),
    (HTML, "<ul><li>PIN <code>hunter2</code></ul>"),
    (HTML, "<label>Password <input value=hunter2></label>"),
    (XML, "<m><p>token:</p><p>hunter2</p></m>"),
    # Its own attributes, of what is in itself.
    (HTML, '<span class="user-password x">hunter2</span>'),
    (HTML, '<p class="token">hunter2</p>'),
    (HTML, '<tr><td data-label="API key">hunter2<td data-label=x>y</table>'),
    (HTML, '<p class="password"><b>x</b>hunter2<i>y</i> hunter2</p>'),
    (HTML, '<i itemprop="ssn">hunter2</i>'),
    (HTML, '<input placeholder="Password" value="hunter2">'),
    (HTML, '<input aria-label="PIN" value="hunter2">'),
    # An object.
    (JSON, DEEP),
    (NDJSON, DEEP + '\n{"a":1}'),
    (JSON, '{"Name":"Password","Value":"hunter2"}'),
    (JSON, '{"label":"Password","value":"hunter2"}'),
    (JSON, '{"k":"password","v":"hunter2"}'),
    (JSON, '{"field":"password","data":"hunter2"}'),
    (JSON, '{"name":"password","stringValue":"hunter2"}'),
    (JSON, '{"key":"password","default":"hunter2"}'),
    (JSON, '{"name":"password","values":["hunter2"]}'),
    (JSON, '[{"op":"replace","path":"/user/password","value":"hunter2"}]'),
    (JSON, '{"field":"password","rejectedValue":"hunter2"}'),
    (JSON, '{"attribute":"password","from":"x","to":"hunter2"}'),
    (JSON, '{"detail":[{"loc":["body","password"],"msg":"x","input":"hunter2"}]}'),
    (TEXT, '{"path":"/user/password","oldValue":"hunter2"'),
    # A column.
    (JSON, '{"columns":["id","password"],"rows":[[1,"hunter2"],[2,"x"]]}'),
    (JSON, '{"a":{"fields":[{"name":"id"},{"name":"pin"}],"data":[[1,"x"],[1,"hunter2"]]}}'),
    (JSON, '[["id","pin","n"],["1","hunter2","a"]]'),
    (JSON, '{"rows":[["id","pin"],[1,"hunter2"]],"x":[1,2]}'),
    (NDJSON, '{"columns":["id","pin"],"rows":[[1,{"a":"hunter2"}]]}\n{"a":1}'),
    # A list.
    (JSON, '{"headers":[["password","hunter2"],["x","y"]]}'),
    (JSON, '{"args":["run","--password","hunter2"]}'),
    # A part.
    (PARTS, part("d", '{"name":"password","value":"hunter2"}', JSON)),
    (PARTS, part("d", DEEP, JSON)),
    (PARTS, part("d", "u,password\nx,hunter2", CSV)),
    (PARTS, part("d", "password: |\n  hunter2\n")),
    (PARTS, part("d", "<input name=password value=hunter2>", HTML)),
)


@pytest.mark.parametrize(("kind", "body"), BODIES)
def test_what_is_named_further_out_is_hidden(kind: str, body: str) -> None:
    shown, kept = told(answer(kind, body), answer(kind, body.replace("er2", "er3")), Rules())
    assert "hunter" not in shown
    assert "hunter" not in kept


@pytest.mark.parametrize(
    ("legacy", "new"),
    [
        ('<div id="password"></div>', '<div id="password"><p>hunter2</p></div>'),
        ("<p>a</p>", '<p>a</p><div id="password"><p>hunter2</p></div>'),
        ("<p>a</p>", '<p>a</p><form id="password"><p title="hunter2">a</p></form>'),
    ],
)
def test_what_one_side_alone_has_of_it_is_hidden_too(legacy: str, new: str) -> None:
    shown, _ = told(answer(HTML, legacy), answer(HTML, new), Rules())
    assert "hunter" not in shown


@pytest.mark.parametrize("rows", ["[]", "[[1]]", "null"])
def test_a_row_that_one_side_alone_has_is_hidden(rows: str) -> None:
    body = '{"columns":["id","password"],"rows":%s}'
    for sides in ((rows, '[[1,"hunter2"]]'), ('[[1],[1,"hunter2"]]', "[[1]]")):
        legacy, new = (answer(JSON, body % side) for side in sides)
        shown, _ = told(legacy, new, Rules())
        assert "hunter2" not in shown


def test_a_line_of_one_part_is_no_column_of_another() -> None:
    def parts(value: str) -> str:
        first = part("a", f"u,password\nx,{value}", CSV).removesuffix("--b--\r\n")
        return first + part("b", f"u,colour\nx,{value}9", CSV)

    shown, _ = told(answer(PARTS, parts("hunter2")), answer(PARTS, parts("hunter3")), Rules())
    assert '"x,redacted:' in shown
    assert "x,hunter29" in shown


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_a_pair_that_stands_in_two_parts_is_looked_at_in_each(names: str) -> None:
    """Alone it is a list of two texts; as a line, so an item of a list, a name and its value."""
    kinds = {"a": JSON, "b": NDJSON}

    def parts(value: str) -> str:
        pair = f'["password","{value}"]'
        first, second = (part(name, pair, kinds[name]) for name in names)
        return first.removesuffix("--b--\r\n") + second

    shown, _ = told(answer(PARTS, parts("hunter2")), answer(PARTS, parts("hunter3")), Rules())
    assert "$.part.b[0][1]" in shown
    assert shown.count('"hunter2"') == 1


@pytest.mark.parametrize(
    "body",
    [
        {"type": "session.created", "data": "plain"},
        {"required": ["token", "plain"]},
        {"rows": [["token", "plain", "x"]]},
        {"args": ["--password", "--plain"]},
        {"args": ["--password=x", "plain"]},
        {"name": "title", "value": "plain"},
        {"path": "/api/sessions", "data": "plain"},
        {"field": "title", "from": "x", "to": "plain"},
        {"columns": ["id", "password"], "rows": [["plain", "x"]]},
        {"columns": ["id", "title"], "rows": [[1, "plain"]]},
        {"columns": ["id", "password"], "note": ["x", "plain"]},
        [["token", "x"], ["y", "plain"]],
        {"@id": "https://example.com/sessions/1", "title": "plain"},
    ],
)
def test_what_nothing_names_is_kept(body: object) -> None:
    assert "plain" in json.dumps(Redactor(KEY).document(body))
    shown, _ = told(
        answer(JSON, json.dumps(body)),
        answer(JSON, json.dumps(body).replace("plain", "plain2")),
        Rules(),
    )
    assert "plain2" in shown


@pytest.mark.parametrize(
    "body",
    [
        "<i><name>Cookie jar</name><price>plain</price></i>",
        "<dl><dt>Colour</dt><dd>plain</dd></dl>",
        "<dl><dt>Did you forget your password?</dt><dd>plain</dd></dl>",
        "<table><tr><th>Password</th></tr><tr><td>plain</td></tr></table>",
        '<div class="cookie-banner"><p>plain</p></div>',
        '<code><b class="token string">plain</b></code>',
        "<p>Forgot your password?</p><p>plain</p>",
        "<p><b>Passwords</b> plain</p>",
        "<p>Read this: <b>plain</b></p>",
    ],
)
def test_an_element_that_nothing_before_it_names_is_kept(body: str) -> None:
    for kind in (HTML, XML):
        shown, kept = told(answer(kind, body), answer(kind, body.replace("in<", "in2<")), Rules())
        assert "plain2" in shown
        assert "plain2" in kept


def test_of_a_large_object_the_usual_names_are_known() -> None:
    body = {f"k{number}": number for number in range(100)}
    shown = Redactor(KEY).document({**body, "name": "password", "value": "hunter2"})
    assert "hunter2" not in json.dumps(shown)


@pytest.mark.parametrize(
    ("kind", "body", "rule"),
    [
        (HTML, "<p>hunter2</p>", "$.name"),
        (HTML, "<p>hunter2</p>", "$..name"),
        (HTML, "<html><body><p title='hunter2'>x</p></body></html>", "$.name"),
        (HTML, "hunter2", "$.name"),
        (HTML, "<p>hunter2</p>", "$"),
        (XML, "<o><a>hunter2</a></o>", "$.name"),
        (PARTS, part("d", "<p>hunter2</p>", HTML), "$.name"),
    ],
)
def test_in_markup_no_rule_for_json_can_be_followed(kind: str, body: str, rule: str) -> None:
    rules = Rules(redact=(rule,))
    shown, kept = told(answer(kind, body), answer(kind, body.replace("er2", "er3")), rules)
    assert "hunter" not in shown
    assert "hunter" not in kept
    other = body.replace("hunter2", "x").replace("</p>", "</p><b>hunter2</b>")
    shown, _ = told(answer(kind, body), answer(kind, other), rules)
    assert "hunter" not in shown


@pytest.mark.parametrize(
    ("kind", "body", "rule"),
    [
        (HTML, "<p>plain</p>", "$.p[7]"),
        (XML, "<o><a>plain</a></o>", "$.o[*].name"),
        (XML, "<o><a>plain</a></o>", "$..name"),
        (XML, "<o><a>plain</a></o>", "$.line[3]"),
        (PARTS, part("d", "<p>plain</p>", HTML), "$.part.d.p[7]"),
    ],
)
def test_where_the_rules_lead_into_markup_the_rest_is_shown(
    kind: str, body: str, rule: str
) -> None:
    other = body.replace("plain", "plain2")
    shown, _ = told(answer(kind, body), answer(kind, other), Rules(redact=(rule,)))
    assert "plain2" in shown


@pytest.mark.parametrize(
    ("kind", "around", "one"),
    [(XML, "<r>{}</r>", "<a>{}</a><b>x</b>"), (JSON, "[{}0]", '"-k{}",')],
)
def test_many_differences_in_one_place_cost_no_more_than_one(
    kind: str, around: str, one: str
) -> None:
    def body(every: int) -> Answer:
        pieces = (one.format(at + (at % every == 0)) for at in range(40_000))
        return answer(kind, around.format("".join(pieces)))

    legacy, new = body(100_000), body(400)
    differences = compare(legacy, new, compile_rules(Rules())).differences
    assert len(differences) > 90

    def time_of(count: int) -> float:
        return least_cpu_s(lambda: show_all(differences[:count], legacy, new, Redactor(KEY)))

    assert time_of(len(differences)) < 5 * time_of(1)
