"""Values to which a text itself gives the name of a secret, whatever the text is.

`password: hunter2`, `?reset_token=...`, JSON inside a string (escaped any number of times, or as
HTML escapes it, or percent-encoded), `<apiKey>...</apiKey>`, `{"name": "pin", "value": ...}`, a
column of comma-separated values. A value in quotes goes on to the quote that closes it, an array or
object to its last bracket, and what never closes to the end of the text: bodies are cut anywhere.
Where a text does not say where a value ends, more of it is taken rather than less.
"""

import re
from collections.abc import Iterator
from typing import Final

from comparators.columns import column_spans
from comparators.secrets import HASHED, MARK, Span
from comparators.spoken import IsNamed, is_named_at, spoken_spans

# A quote as it is, or as HTML, a URL or JSON writes it, behind the backslashes that escape it.
_ESCAPE: Final = r"(?:\\|%(?:25)?5[cC])"
_QUOTE: Final = (
    rf"(?:{_ESCAPE}{{0,31}}(?:[\"'`]|(?:&|%26)(?:amp(?:;|%3B)){{0,3}}(?:quot|apos|(?:#|%23)(?:34|39|x22|x27))"
    rf"(?:;|%3B)|%(?:25)?2[27])|{_ESCAPE}{{1,15}}u002[27])"
)
_ESCAPES = re.compile(rf"{_ESCAPE}*+(?!u002)")
_BLANK: Final = r"(?:\s|%(?:25)?(?:20|0[aAdD9])|\\{1,15}[nrt]|\+(?=%22))*+"
_MORE: Final = r"(?:>|&gt;|\\{1,15}u003[eE]|%3[eE])"
# A name begins where none goes on; words with single dots between them are one name.
_PAIR = re.compile(
    r"(?:(?<![\w$.-])|(?<=[^\w$-]\.)|(?<=%[0-9A-Fa-f]{2}))(?P<name>[\w$-]++(?:\.[\w$-]++)*+)"
    rf"(?:(?:\[|%5[Bb])(?P<index>[\w.$-]{{0,60}})(?:\]|%5[Dd]))?(?P<quote>{_QUOTE})?\]?"
    rf"(?P<before>{_BLANK})(?P<is>=>|:=|={{1,3}}|:(?!:)|%(?:25)?3[ADad])(?P<space>{_BLANK})"
)
# What an escape or an encoded character in front of a name adds to it.
_ADDED = re.compile(r"(?<=%)(?:25)?[0-9A-Fa-f]{2}|(?<=\\)(?:u[0-9A-Fa-f]{4}|[nrtbf])")
_OPENS = re.compile(rf"(?P<prefix>[bBrRuUfF]{{1,2}}|[A-Za-z_.]{{0,16}}\()?(?P<quote>{_QUOTE})")
_ANY_QUOTE = re.compile(_QUOTE)
_INSIDE = re.compile(rf"(?P<quote>{_QUOTE})|(?P<open>[\[{{])|(?P<close>[\]}}])")
_WORD = re.compile(r"(?:[^\s&;\"'<>\\]|\\(?![\"'nrt]))+")
_SCALAR = re.compile(r"[^\s,&;\"'<>\]}\\]+")
_LINE = re.compile(r"[^\r\n\"<>]+")
_TRAILING: Final = ")]},."
_BLOCK = re.compile(r"[|>][+-]?[0-9]?[ \t]*+(?=\r?\n|$)")
_NEXT_LINE = re.compile(r"\r?\n(?P<indent>[ \t]*+)(?P<item>- )?(?P<rest>[^\r\n]*+)")
_NO_VALUE = re.compile(r"[\w$.\"' -]{1,80}+[:=]|[<#;\[\]{}()|>/-]")
_INDENT = re.compile(r"[ \t]*+")
# Of the parameters of URLs; as names of other values these say something else.
_OF_QUERY: Final = frozenset(
    (
        *("code", "sig", "signature", "x-amz-signature", "x-goog-signature", "hmac", "ticket"),
        *("assertion", "samlresponse", "samlrequest"),
    )
)
# Names whose value says what another value is, and the names of that one.
_NAMING: Final = frozenset(
    (
        *("name", "id", "key", "type", "property", "field", "autocomplete", "http-equiv"),
        *("path", "attribute", "column"),
    )
)
_NAMED: Final = frozenset(
    ("value", "content", "val", "oldvalue", "newvalue", "rejectedvalue", "old", "new", "input")
)
_NAME_GIVEN = re.compile(rf"(?:{_QUOTE})?(?P<name>[\w.$/ -]{{1,200}})")
_BOUND = re.compile(r"[{}<>]")
_FAR: Final = 2000  # characters between a name and what it names
_TAG = re.compile(
    r"(?:(?P<plain><)|&lt;|\\{1,15}u003[cC]|%3[cC])(?P<end>\\?/|%2[fF])?"
    rf"(?P<name>[A-Za-z_][\w.:-]*+)(?P<rest>(?(plain)[^<>]*+|[^<>&%\\]*+)){_MORE}"
)
_NAMING_ATTRIBUTE = re.compile(
    rf"(?<![\w-])(?i:name|id|key|type|property)\s*+=\s*+(?:{_QUOTE})?(?P<name>[\w.$-]{{1,200}})"
)
_CHILDLESS: Final = frozenset(
    ("input", "meta", "area", "base", "br", "col", "embed", "hr", "img", "link", "source", "wbr")
)


def named_spans(text: str, is_named: IsNamed, elements: bool = True) -> list[Span]:
    """Where such values stand in a text, in no order; some may overlap or be empty.

    `is_named` says whether a name is that of a secret; `elements`, whether those of markup are
    looked at.
    """
    spans: list[Span] = []
    if "=" in text or ":" in text or "%3" in text or "%253" in text:
        spans += _pairs(text, is_named)
    spans += spoken_spans(text, is_named)
    if elements and ("<" in text or "&lt;" in text or "u003" in text or "%3" in text):
        spans += _elements(text, is_named)
    spans += column_spans(text, is_named)
    return spans


# Pairs


def _pairs(text: str, is_named: IsNamed) -> Iterator[Span]:
    at = 0
    naming: int | None = None  # where a name of a secret stands as a value
    named: re.Match[str] | None = None  # the last pair whose value may be named beside it
    while (found := _PAIR.search(text, at)) is not None:
        at = found.end()
        if HASHED.match(text, found.end("is") - len(MARK)):
            continue  # what is glued to it is no name
        lower = found["name"].lower()
        if lower in _NAMING and (given := _NAME_GIVEN.match(text, at)) and is_named(given["name"]):
            naming = at
            if named is not None and _are_together(text, named.end(), at):
                yield _value(text, named)
        if lower in _NAMED:
            named = found
        if (
            _names_secret(text, found, is_named)
            or (lower in _OF_QUERY and _is_in_query(text, found))
            or (lower in _NAMED and naming is not None and _are_together(text, naming, at))
        ):
            begin, end = _value(text, found)
            yield begin, end
            at = max(at, end)


def _names_secret(text: str, found: re.Match[str], is_named: IsNamed) -> bool:
    name = found["name"]
    if found["index"] and is_named(found["index"]):
        return True
    begin = found.start()
    if (added := _ADDED.match(text, begin)) and is_named(text[added.end() : found.end("name")]):
        return True
    return is_named_at(text, begin, name, is_named)


def _is_in_query(text: str, found: re.Match[str]) -> bool:
    if found["is"] != "=" and not found["is"].startswith("%"):
        return False
    before = text[max(found.start() - 3, 0) : found.start()].upper()
    return before.endswith(("?", "&", "#", ";", "%3F", "%26", "%23"))


def _are_together(text: str, begin: int, end: int) -> bool:
    """Whether two places are in one object, or one tag."""
    return end - begin <= _FAR and _BOUND.search(text, begin, end) is None


def _value(text: str, found: re.Match[str]) -> Span:
    at = found.end()
    is_apart = "\n" in found["space"] or "\n" in found["before"]
    if opened := _OPENS.match(text, at):
        return at if opened["prefix"] else opened.end(), _closing_quote(text, opened)
    if text.startswith(("[", "{"), at) and (found["quote"] or not is_apart):
        return at, _closing_bracket(text, at)
    if found["quote"]:
        return at, _end(_SCALAR, text, at)
    if is_apart or _BLOCK.match(text, at):
        return _block(text, found)
    # `password: correct horse` is one; `password=correct horse` is not.
    if found["space"] or found["name"].lower().endswith("authorization"):
        return at, _end(_LINE, text, at)
    return at, _end(_WORD, text, at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    taken = pattern.match(text, at)
    if taken is None:
        return at
    end = taken.end()
    while end > at and (text[end - 1].isspace() or text[end - 1] in _TRAILING):
        end -= 1
    return end


def _closing_quote(text: str, opened: re.Match[str]) -> int:
    """Where what was opened ends: before the same quote, escaped as often."""
    quote = opened["quote"]
    escapes = _ESCAPES.match(quote)
    sign = quote[escapes.end() :] if escapes is not None else quote
    escape = (
        "\\" if "\\" in quote else quote[: len(quote) - len(sign)][: 5 if "%25" in quote else 3]
    )
    depth = (len(quote) - len(sign)) // max(len(escape), 1)
    escape = escape or ("\\" if sign in "\"'`" or sign[0] == "&" else "%5C")
    at = opened.end()
    while (end := text.find(sign, at)) >= 0:
        begin = end
        while begin - len(escape) >= opened.end() and text.startswith(escape, begin - len(escape)):
            begin -= len(escape)
        at = end + len(sign)
        found = (end - begin) // len(escape)
        # At a depth of n, 2^n - 1 backslashes stand before a quote that is none of the value. How
        # many there are before one that is written in another way depends on what came first.
        if found == depth or (len(sign) == 1 and found % (2 * (depth + 1)) == depth):
            if depth or not text.startswith(sign, at):
                return end - depth * len(escape)
            at += len(sign)  # doubled: a part of the value
    return len(text)


def _closing_bracket(text: str, at: int) -> int:
    """Behind the bracket that closes the one there."""
    depth = 0
    while (found := _INSIDE.search(text, at)) is not None:
        at = found.end()
        if found["quote"]:
            at = _closing_quote(text, found)
            if closed := _ANY_QUOTE.match(text, at):
                at = closed.end()
        elif found["open"]:
            depth += 1
        else:
            depth -= 1
            if depth <= 0:
                return at
    return len(text)


def _block(text: str, found: re.Match[str]) -> Span:
    """What stands below a name: further to the right (of YAML), else the line that follows."""
    line = text.rfind("\n", 0, found.start()) + 1
    own = _INDENT.match(text, line, found.start())
    width = own.end() - line if own is not None else 0
    at = text.find("\n", found.end("is"))
    if at < 0 or not found["is"].startswith(":"):
        return _line_below(text, found.end())
    at -= text[at - 1] == "\r"
    begin = end = at
    while (following := _NEXT_LINE.match(text, end)) is not None:
        deeper = len(following["indent"]) > width or (
            len(following["indent"]) == width and following["item"]
        )
        if (following["rest"] and not deeper) or following["rest"].startswith("<"):
            break
        end = following.end()
    kept = text[begin:end]
    if not kept.strip():
        return _line_below(text, found.end())
    return begin + len(kept) - len(kept.lstrip()), begin + len(kept.rstrip())


def _line_below(text: str, at: int) -> Span:
    """The line there, unless it is another setting: then the one before it had no value."""
    return at, at if _NO_VALUE.match(text, at) else _end(_LINE, text, at)


# Elements


def _elements(text: str, is_named: IsNamed) -> list[Span]:
    tags = list(_TAG.finditer(text))
    opened = [tag for tag in tags if _opens_secret(tag, is_named)]
    if not opened:
        return []
    closing = _closing_tags(tags)
    is_markup = text.lstrip().startswith("<")
    spans = []
    covered = 0
    for tag in opened:
        if tag.end() < covered:
            continue
        end = closing.get(tag.start())
        if end is None:
            end = len(text) if is_markup else _end(_LINE, text, tag.end())
        spans.append((tag.end(), end))
        covered = max(covered, end)
    return spans


def _opens_secret(tag: re.Match[str], is_named: IsNamed) -> bool:
    if tag["end"] or tag["rest"].endswith("/") or tag["name"].lower() in _CHILDLESS:
        return False
    if is_named(tag["name"].rpartition(":")[2]):
        return True
    return any(is_named(each["name"]) for each in _NAMING_ATTRIBUTE.finditer(tag["rest"]))


def _closing_tags(tags: list[re.Match[str]]) -> dict[int, int]:
    """Where the elements end, by where they begin; those that are never closed are not in it."""
    closing = {}
    waiting: dict[str, list[int]] = {}
    for tag in tags:
        if not tag["end"]:
            if not tag["rest"].endswith("/"):
                waiting.setdefault(tag["name"], []).append(tag.start())
        elif begins := waiting.get(tag["name"]):
            closing[begins.pop()] = tag.start()
    return closing
