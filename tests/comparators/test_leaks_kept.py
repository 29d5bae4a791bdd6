"""Secrets that a body names in another spelling, or under another name: what is kept of it."""

import pytest

from comparators import Rules
from comparators.redaction import Redactor
from tests.comparators.test_leaks_across_kinds import HTML, JSON, KEY, TEXT, XML, answer, told


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (HTML, "<p>Password&#58; hunter2</p>"),
        (HTML, "<p>password=h&#117;nter2</p>"),
        (HTML, '<a href="/r?reset&#95;token=hunter2">x</a>'),
        (HTML, '<input name="pass&#119;ord" value="hunter2">'),
        (XML, "<c><a>&lt;password&gt;hunter2&lt;/password&gt;</a></c>"),
        (XML, "<c><a>pass&#119;ord=hunter2</a></c>"),
        (XML, '<c><a>{"pass&#x77;ord":"hunter2"}</a></c>'),
        (XML, "<c><a>password=<![CDATA[hunter2]]></a></c>"),
        (XML, "<c><a>password=<!-- -->hunter2</a></c>"),
        (XML, "<c><a><![CDATA[pass]]>word=hunter2</a></c>"),
        (JSON, r'{"pass\u0077ord":"hunter2",'),
        (JSON, r'{"a":"{\"pass\\u0077ord\":\"hunter2\"}"}'),
        (TEXT, r'{"pass\u0077ord":"hunter2"}'),
        (TEXT, r'{"\u0070assword":"x","m":1,"p\u0069n":"hunter2"}'),
    ],
)
def test_another_spelling_of_a_name_hides_as_well(kind: str, body: str) -> None:
    other = body.replace("nter2", "nter3").replace("}", ', "b":1}').replace("</c>", "<d/></c>")
    shown, kept = told(answer(kind, body), answer(kind, other), Rules())
    assert "nter" not in shown
    assert "nter" not in kept


@pytest.mark.parametrize(
    ("body", "secret"),
    [
        ('<a href="mailto:jane&#64;example.com">x</a>', "jane"),
        ("<p>4111111<!-- -->111111111</p>", "111111111"),
        ("<p>4111&#32;1111 1111&nbsp;1111</p>", "1111"),
        ("<p>a</p>\n<password> <b>hunter2</b>\n</password>", "hunter2"),
    ],
)
def test_another_spelling_of_a_secret_is_hidden_as_well(body: str, secret: str) -> None:
    kept = Redactor(KEY).body(body, "html") or ""
    assert secret not in kept
    assert Redactor(KEY).body(kept, "html") == kept


@pytest.mark.parametrize(
    "body",
    [
        "<p>4111<b>1111</b>11111111</p>",
        "<p><span>4111</span> <span>1111</span>\n<span>1111</span> <i>1111</i></p>",
        "<p><b>DE89</b> <b>3704</b><b>0044 0532 0130 00</b></p>",
        "<p><input value=4111><input value='1111'><input value=1111><input value=1111></p>",
    ],
)
def test_a_number_that_tags_split_is_hidden(body: str) -> None:
    for kind in (HTML, XML)[: 1 if "<input" in body else 2]:
        other = body.replace("1111", "2222").replace("3704", "3705")
        shown, kept = told(answer(kind, body), answer(kind, other), Rules())
        for piece in ("4111", "1111", "3704", "0532"):
            assert piece not in kept.partition(",")[0]
            assert piece not in shown


@pytest.mark.parametrize(
    "body",
    [
        "<table><tr><td>4111</td><td>1111</td><td>1111</td><td>1111</td></tr></table>",
        "<p><b>4111</b> items <b>1111</b><b>11111111</b></p>",
        "<p><b>4111</b><b>1111</b><b>11111112</b></p>",
        "<p>a &amp; b &lt; c<!-- d --> &copy; &#x41;</p>",
        "<a title='&quot;x&quot;'>&#" + "9" * 5000 + ";</a>",
        "<![CDATA[a & b]]><b>x</b>",
    ],
)
def test_markup_without_secrets_is_kept_as_it_is(body: str) -> None:
    assert Redactor(KEY).body(body, "html") == body
    assert Redactor(KEY).body(body, "xml") == body


@pytest.mark.parametrize("text", [r"a\u0041\u0042: x", "C:\\u0041bc", r"\u00e9\u0061"])
def test_a_text_with_escapes_and_no_secret_stays_as_it_is(text: str) -> None:
    assert Redactor(KEY).text(text) == text


@pytest.mark.parametrize(
    ("legacy", "new", "rename"),
    [
        ('{"password":"hunter2"}', '{"q":"hunter3"}', {"$.password": "$.q"}),
        ('{"i":[{"pin":"hunter2"}]}', '{"i":[{"t":"hunter3"}]}', {"$.i[*].pin": "$.i[*].t"}),
        (
            '{"name":"password","value":"hunter2"}',
            '{"nm":"password","value":"hunter3"}',
            {"$.name": "$.nm"},
        ),
        (
            '{"name":"password","value":"hunter2"}',
            '{"name":"password","shown":"hunter3"}',
            {"$.value": "$.shown"},
        ),
    ],
)
def test_what_new_calls_otherwise_is_a_secret_of_both(
    legacy: str, new: str, rename: dict[str, str]
) -> None:
    shown, kept = told(answer(JSON, legacy), answer(JSON, new), Rules(rename=rename))
    assert "hunter" not in shown
    assert "hunter" not in kept


def test_a_rename_between_names_of_secrets_is_no_rule_of_its_own() -> None:
    redactor = Redactor(KEY, rename={"$.token": "$.accessToken"})
    assert redactor.body("plain", "text") == "plain"
