"""XML and HTML: what means the same is the same, and nothing else is."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators import Answer, Outcome, Rules, compare, compile_rules
from comparators.elements import MAX_ELEMENTS
from comparators.html import load_html
from comparators.xml import Xml, load_xml

HTML = "text/html"
XML = "application/xml"
XHTML = "application/xhtml+xml"
STRICT = compile_rules(Rules())
DTD = '<!DOCTYPE a SYSTEM "a.dtd">'
URI = 'xmlns:p="urn:1"'
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
KEPT = '<a xml:space="preserve">'


def differ(kind: str, one: str, other: str, **rules: tuple[str, ...]) -> list[str]:
    """The places that differ, the same ones from both sides."""
    compiled = compile_rules(Rules(**rules)) if rules else STRICT  # type: ignore[arg-type]
    legacy, new = (Answer(200, (("Content-Type", kind),), text.encode()) for text in (one, other))
    found, mirrored = compare(legacy, new, compiled), compare(new, legacy, compiled)
    assert found.outcome is mirrored.outcome
    return [each.path for each in found.differences]


DIFFERENT = [
    (XML, '<a xmlns="urn:1"><b/></a>', '<a xmlns="urn:2"><b/></a>'),
    (XML, '<a xmlns="urn:1"><b/></a>', "<a><b/></a>"),
    (XML, '<a xmlns="urn:1"><b/></a>', '<a xmlns="urn:1"><b xmlns=""/></a>'),
    (XML, '<a xmlns="urn:1"><b xmlns="urn:2"/></a>', '<a xmlns="urn:1"><b xmlns="urn:3"/></a>'),
    (XML, "<a>x\u00a0y</a>", "<a>x y</a>"),
    (XML, "<a>x\u3000y</a>", "<a>x y</a>"),
    (XML, "<a>\u00a0</a>", "<a></a>"),
    (XML, f"{KEPT}x  y</a>", f"{KEPT}x y</a>"),
    (XML, f"{KEPT}<b>x  y</b></a>", f"{KEPT}<b>x y</b></a>"),
    (XML, f"{DTD}<a>1&x;</a>", f"{DTD}<a>1&y;</a>"),
    (XML, f"{DTD}<a>1&x;</a>", f"{DTD}<a>1</a>"),
    (XML, f"{DTD}<a>1&x;</a>", f"{DTD}<a>1&amp;x;</a>"),
    (XML, f'{DTD}<a b="&x;"/>', f'{DTD}<a b="&y;"/>'),
    (XML, '<!DOCTYPE a SYSTEM "a.dtd" [<!ATTLIST a b CDATA "&x;">]><a/>',
     '<!DOCTYPE a SYSTEM "a.dtd" [<!ATTLIST a b CDATA "&y;">]><a/>'),
    (XML, f'<a {URI} {XSI} xsi:type="p:T"/>', f'<a xmlns:p="urn:2" {XSI} xsi:type="p:T"/>'),
    (XML, f'<a xmlns="urn:1" {XSI} xsi:type="T"/>', f'<p:a {URI} {XSI} xsi:type="T"/>'),
    (XHTML, "<p><![CDATA[yes]]></p>", "<p><![CDATA[no]]></p>"),
    (XHTML, "<div/><p>a</p>", "<div><p>a</p></div>"),
    (XHTML, '<pre xmlns="http://www.w3.org/1999/xhtml">a\n b</pre>',
     '<pre xmlns="http://www.w3.org/1999/xhtml">a b</pre>'),
    (HTML, "<script>var a=1", "<script>var a=2"),
    (HTML, "<style>a", "<style>b"),
    (HTML, "<script>a</script>", "<script>a"),
    (HTML, "<script src=a /><p>x</p>", "<script src=a></script><p>x</p>"),
    (HTML, "<div/><p>a</p>", "<div></div><p>a</p>"),
    (HTML, "<svg><text><![CDATA[yes]]></text></svg>", "<svg><text><![CDATA[no]]></text></svg>"),
    (HTML, "<pre><code>a\n  b</code></pre>", "<pre><code>a b</code></pre>"),
    (HTML, "<pre>  </pre>", "<pre></pre>"),
    (HTML, "<textarea> a</textarea>", "<textarea>a</textarea>"),
    (HTML, "<script>a\n//b</script>", "<script>a //b</script>"),
    (HTML, "<p>10&nbsp;EUR</p>", "<p>10 EUR</p>"),
    (HTML, "<td>&nbsp;</td>", "<td></td>"),
    (HTML, "<![foo[x]]>a", "<![foo[y]]>b"),
    (HTML, "<!DOCTYPE html><p>", "<p>"),
    (HTML, "<p>x</p><a href='1", "<p>x</p><a href='2"),
    (HTML, "<p>x</p><!-- <p>y</p>", "<p>x</p>"),
    (HTML, "<div><b>x</div>y", "<div><b>x</b></div>y"),
    (HTML, "<b><p>x</b>y</p>", "<b><p>x</p></b>y"),
    (HTML, "<b><p>x</b>y</p>", "<b><p>xy</p></b>"),
    (HTML, "<span><div>x</span>y</div>", "<span><div>x</div></span>y"),
    (HTML, "<p>a</p></p>", "<p>a</p>"),
    (HTML, "<ul><li>a<ul><li>b</ul></ul>", "<ul><li>a<li>b</ul>"),
    (HTML, '<a href="?a&copy=1">', '<a href="?a©=1">'),
    (HTML, "<plaintext></p>", "<plaintext>"),
    (HTML, "<b>a</b> <b>b</b>", "<b>a</b><b>b</b>"),
    (HTML, "<p>a <i>b</i></p>", "<p>a<i>b</i></p>"),
    (HTML, "<p>a <img> b</p>", "<p>a <img>b</p>"),
    (HTML, "<p>a <img> b</p>", "<p>a<img> b</p>"),
    (HTML, "<button>a</button> <button>b</button>", "<button>a</button><button>b</button>"),
    (HTML, "<x-y>a</x-y> b", "<x-y>a</x-y>b"),
    (HTML, "a <script></script>b", "a<script></script>b"),
    (HTML, "<svg> <text> a </text></svg> c", "<svg><text>a</text></svg>c"),
]  # fmt: skip

SAME = [
    (XML, '<p:a xmlns:p="urn:1"/>', '<a xmlns="urn:1" />'),
    (XML, f'<a {URI} {XSI} xsi:type="p:T"/>', f'<a xmlns:q="urn:1" {XSI} xsi:type="q:T"/>'),
    (XML, "<a><![CDATA[x]]></a>", "<a>x</a>"),
    (XML, "<a>x<!-- c -->y<?p i?></a>", "<a> xy\n</a>"),
    (XML, f'{KEPT}<b xml:space="default">x  y</b></a>',
     f'{KEPT}<b xml:space="default">x y</b></a>'),
    (XHTML, "<p><br/>&amp;</p>", "<p><br></br>&#38;</p>"),
    (HTML, "<input disabled>", '<INPUT disabled="">'),
    (HTML, "<ul><li>a<li>b</ul>", "<ul><li>a</li><li>b</li></ul>"),
    (HTML, "<p>one<p>two<div>x</div>", "<p>one</p><p>two</p><div>x</div>"),
    (HTML, "<dl><dt>a<dd>b<dt>c</dl>", "<dl><dt>a</dt><dd>b</dd><dt>c</dt></dl>"),
    (HTML, "<table><thead><tr><th>a<th>b<tbody><tr><td>c<tr><td>d</table>",
     "<table><thead><tr><th>a</th><th>b</th></tr></thead>"
     "<tbody><tr><td>c</td></tr><tr><td>d</td></tr></tbody></table>"),
    (HTML, "<select><optgroup><option>a<option>b<optgroup><option>c</select>",
     "<select><optgroup><option>a</option><option>b</option></optgroup>"
     "<optgroup><option>c</option></optgroup></select>"),
    (HTML, "<html><head><title>a</title><body>b", "<html><head><title>a</title></head><body>b"),
    (HTML, "<title>&lt;b&gt;</title>", "<title><b></title>"),
    (HTML, "<p class='b a'>x<br/></P>", '<p class="a b">\n x <br></p>'),
    (HTML, "<a href='?a=1&amp;b=2'>&#169;&copy</a>", "<a href=?a=1&b=2>©©</a>"),
    (HTML, "<pre>\na</pre>", "<pre>a</pre>"),
    (HTML, "<b>a</b> <b>b</b>", "<b>a </b>\n<b>b</b>"),
    (HTML, "\n<ul>\n <li> <a> b\n</a> </li>\n </ul>\n", "<ul><li><a>b</a></li></ul>"),
    (HTML, "<p> a <br> b </p> <p>c</p>", "<p>a<br>b</p><p>c</p>"),
    (HTML, "<p>a <img> <b> b</b></p>", "<p>a <img> <b>b</b></p>"),
    (HTML, "<p>a <button> b </button></p>", "<p>a <button>b</button></p>"),
    (HTML, "<div> <script>a</script> <link> b</div>", "<div><script>a</script><link>b</div>"),
    (HTML, "<p>a </x> b</p>", "<p>a b</p>"),
    (HTML, "<pre>a</pre> b", "<pre>a</pre>b"),
    (HTML, "<table> <tr> <td> a </td> </tr> </table>", "<table><tr><td>a</td></tr></table>"),
    (HTML, "<svg> <g> <path/> </g> </svg>", "<svg><g><path/></g></svg>"),
    (HTML, "<select> <option> a </option> </select>", "<select><option>a</option></select>"),
    (HTML, "<!-- c --><p>a</x><!-->", "<p>a"),
    (HTML, "<div><table><tr><td></div>a</table></div>", "<div><table><tr><td>a</table></div>"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "one", "other"), DIFFERENT)
def test_what_means_something_else_is_found(kind: str, one: str, other: str) -> None:
    assert differ(kind, one, other) != []


@pytest.mark.parametrize(("kind", "one", "other"), SAME)
def test_what_means_the_same_is_the_same(kind: str, one: str, other: str) -> None:
    assert differ(kind, one, other) == []


def test_the_one_namespace_of_a_document_has_a_place_of_its_own() -> None:
    one, other = '<a xmlns="urn:1"><b>x</b></a>', '<a xmlns="urn:2"><b>y</b></a>'
    assert differ(XML, one, other) == ["$['#namespace']", "$.a[0].b[0]['#text']"]
    assert differ(XML, one, other, ignore=("$.#namespace",)) == ["$.a[0].b[0]['#text']"]


def test_an_end_tag_that_is_missing_inside_text_has_a_place_of_its_own() -> None:
    assert differ(HTML, "<div><b>x</div>", "<div><b>x</b></div>") == ["$.div[0].b[0]['#unclosed']"]


def test_what_is_left_of_a_tag_is_told_without_what_stands_in_it() -> None:
    for rest in ('<input name="pin" value="hunter2', "<!-- hunter2", "</b hunter2", "<?hunter2"):
        tree, _ = load_html("<p>x</p>" + rest)
        assert "bytes, sha256" in tree["#rest"]
        assert "hunter2" not in repr(tree)


SLOW = {
    "tags": "<a " * 130_000,
    "end tags": "</a" * 130_000,
    "comments": "<!--" * 100_000,
    "instructions": "<?" * 200_000,
    "sections": "<svg>" + "<![CDATA[" * 50_000,
    "brackets": "<" * 400_000,
    "references": "&#0" * 130_000,
    "a number": "&#" + "9" * 400_000,
    "quotes": "<a " + "a=\"'" * 100_000,
    "blanks": "<a a" + " " * 400_000,
    "items": "<li>" + "<i>" * 400 + "<li></li>" * 40_000,
    "raw": "<script>" + "</scrip" * 50_000,
}


@pytest.mark.parametrize("name", SLOW)
def test_no_html_takes_quadratic_time(name: str) -> None:
    began = time.process_time()
    load_html(SLOW[name])
    assert time.process_time() - began < 2.0  # some took 25 seconds


PIECES = (
    *("<", ">", "/", "!", "?", "-", "--", "[", "]]>", "<![", "<!--", "-->", "<![CDATA["),
    *("a", "p", "b", "li", "svg", "title", "script", "</", "<p", "<b", "<td>", "<table>", "<svg>"),
    *("=", '"', "'", " ", "\n", "\r", "\0", "&", "&#", "&#x", "9" * 5000, ";", "amp", "é"),
    *("<!DOCTYPE", "\ud800"),
)


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_no_text_makes_a_parser_raise(text: str) -> None:
    load_html(text)
    load_xml(text)
    load_xml(f"<!DOCTYPE a SYSTEM 'a'><a>{text}</a>")


def test_a_document_with_too_many_elements_is_cut() -> None:
    assert load_html("<br>" * (MAX_ELEMENTS + 1))[1]
    cut = load_xml(f"<a>{'<b/>' * MAX_ELEMENTS}</a>")
    assert isinstance(cut, Xml)
    assert cut.cut
    assert differ(HTML, "<br>" * (MAX_ELEMENTS + 1), "<br>" * (MAX_ELEMENTS + 2)) == ["$"]


def test_a_document_that_differs_under_the_rules_alone_is_equal() -> None:
    found = compare(
        Answer(200, (("Content-Type", HTML),), b"<p id=1>a"),
        Answer(200, (("Content-Type", HTML),), b"<p id=2>a"),
        compile_rules(Rules(ignore=("$.p[*].@id",))),
    )
    assert found.outcome is Outcome.EQUAL
