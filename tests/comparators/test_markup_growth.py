"""Markup that a few bytes make large without any entity: cut, and never equal for it."""

import tracemalloc

import pytest

from comparators import Answer, Kind, Outcome, Rules, compare, compile_rules
from comparators.elements import MAX_ATTRIBUTES
from comparators.html import load_html
from comparators.xml import Xml, load_xml

_DEFAULTS = " ".join(f'a{number} CDATA "x"' for number in range(300))
_LONG_DEFAULT = "x" * 20_000
_LONG_NAMESPACE = "u" * 10_000
GROWING = {
    "attributes of a DTD": f"<!DOCTYPE a [<!ATTLIST b {_DEFAULTS}>]><a>{'<b/>' * 20_000}",
    "long ones": f'<!DOCTYPE a [<!ATTLIST b a CDATA "{_LONG_DEFAULT}">]><a>{"<b/>" * 50_000}',
    "a namespace": f'<a xmlns="{_LONG_NAMESPACE}" xmlns:q="v"><q:c/>{"<b/>" * 50_000}',
    "a namespace of many names": f'<a xmlns="{_LONG_NAMESPACE}" xmlns:q="v"><q:c/>'
    + "".join(f"<b{number}/>" for number in range(20_000)),
}


@pytest.mark.parametrize("name", GROWING)
def test_xml_does_not_outgrow_its_bounds(name: str) -> None:
    tracemalloc.start()
    try:
        read = load_xml(f"{GROWING[name]}</a>")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(read, Xml)
    assert read.cut
    assert peak < 128 << 20  # up to gigabytes


@pytest.mark.parametrize("name", GROWING)
def test_what_lies_behind_is_no_parity(name: str) -> None:
    legacy, new = (
        Answer(200, (("Content-Type", "text/xml"),), f"{GROWING[name]}{end}</a>".encode())
        for end in ("<z>1</z>", "<z>2</z>")
    )
    found = compare(legacy, new, compile_rules(Rules()))
    assert (found.outcome, found.truncated) == (Outcome.DIVERGENT, True)
    assert [each.kind for each in found.differences] == [Kind.TRUNCATED]


def test_html_of_many_attributes_is_cut() -> None:
    tag = "<a " + " ".join(f"a{number}" for number in range(MAX_ATTRIBUTES // 10)) + ">"
    assert not load_html(tag * 10)[1]
    assert load_html(tag * 11)[1]


def test_namespaces_and_attributes_as_they_are_used_are_read_whole() -> None:
    namespace = "http://www.w3.org/2005/Atom/and/some/more/of/a/path/of/usual/length"
    items = '<b id="1" name="two" kind="three"/>' * 90_000
    read = load_xml(f'<a xmlns="{namespace}" xmlns:q="v"><q:c/>{items}</a>')
    assert isinstance(read, Xml)
    assert not read.cut
