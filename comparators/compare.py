"""Two answers as a whole: the ladder, each rung only where the one before found a difference.

1. Status and compared headers; the bodies byte by byte, as they were sent and are to be read.
2. Content coding and charset undone, the content read by its type, equal under the rules.
3. What differs, pruned to the places: `values`, and DeepDiff where items have to be matched.

Never raises, whatever the bytes are. Comparing the sides the other way round finds the same
places, with missing for added and the values exchanged.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from comparators import content
from comparators.decode import decode_content, decode_text
from comparators.form import (
    Part,
    Unreadable,
    has_too_many_lines,
    load_form,
    load_multipart,
    ndjson_as_json,
)
from comparators.headers import all_of, compare_headers, compare_part_headers, first
from comparators.html import load_html
from comparators.json import TOO_MUCH, compare_json
from comparators.model import (
    ABSENT,
    MAX_DIFFERENCES,
    Answer,
    Comparison,
    Difference,
    Kind,
    Outcome,
)
from comparators.paths import Deep, Wild, parse_path, render, render_step
from comparators.rules import CompiledRules, compile_rules, split_key
from comparators.status import compare_status
from comparators.text import compare_binary, compare_text
from comparators.values import Found, compare_values
from comparators.xml import NotXml, load_xml

MAX_PART_DEPTH: Final = 3


@dataclass(frozen=True, slots=True)
class Content:
    """A body, its coding undone. `text` is None where it is none."""

    kind: str  # of comparators.content
    data: bytes
    text: str | None = None
    problem: str = ""  # why it is not what its headers say


def compare(legacy: Answer, new: Answer, rules: CompiledRules, method: str = "GET") -> Comparison:
    """What comparing them came to, by the comparator that fits or the rules name."""
    found = [
        *compare_status(legacy.status, new.status, rules.rules.status),
        *compare_headers(legacy.headers, new.headers, rules),
    ]
    name, truncated, detail = "", False, ""
    if method != "HEAD" and not _same_bytes(legacy, new) and not rules.ignores(()):
        name, bodies = _compare_bodies(legacy, new, rules)
        found += bodies.differences
        truncated, detail = bodies.truncated, bodies.detail
    if len(found) > MAX_DIFFERENCES:
        truncated, detail = True, detail or f"more than {MAX_DIFFERENCES} differences"
        found = found[:MAX_DIFFERENCES]
    if truncated and not found:
        # What was not examined cannot be called the same.
        found = [Difference("$", Kind.TRUNCATED, detail, detail)]
    outcome = Outcome.DIVERGENT if found else Outcome.EQUAL
    return Comparison(outcome, name, tuple(found), truncated, detail)


def content_of(answer: Answer, with_: str = "auto") -> Content:
    """The content of an answer, ready to be read."""
    decoded = decode_content(all_of(answer.headers, "content-encoding"), answer.body)
    content_type = first(answer.headers, "content-type")
    if decoded.problem:
        return Content(content.BINARY, decoded.data, None, decoded.problem)
    kind = with_ if with_ != "auto" else content.comparator_for(content_type, decoded.data)
    if kind == content.BINARY:
        return Content(kind, decoded.data)
    # Lines of markup are in its charset too.
    of_text = kind == content.TEXT
    written = content.comparator_for(content_type, decoded.data) if of_text else kind
    text = decode_text(content_type, decoded.data, written)
    # The parts of a multipart body are read one by one: as a whole it need not be a text.
    problem = "" if kind == content.MULTIPART else text.problem
    return Content(kind, decoded.data, text.text, problem)


def _same_bytes(legacy: Answer, new: Answer) -> bool:
    """Whether both are the same to every client: the same bytes, to be read in the same way."""
    return legacy.body == new.body and all(
        all_of(legacy.headers, name) == all_of(new.headers, name)
        for name in ("content-encoding", "content-type")
    )


def _compare_bodies(legacy: Answer, new: Answer, rules: CompiledRules) -> tuple[str, Found]:
    one, other = content_of(legacy, rules.rules.with_), content_of(new, rules.rules.with_)
    return _compare_contents(one, other, legacy, new, rules, 0)


def _compare_contents(
    one: Content,
    other: Content,
    legacy: Answer,
    new: Answer,
    rules: CompiledRules,
    depth: int,
) -> tuple[str, Found]:
    is_same = one.data == other.data and one.text == other.text
    if is_same and one.problem == other.problem and content.MULTIPART not in (one.kind, other.kind):
        return one.kind, Found()
    if one.problem != other.problem:
        coding = _of_both(one.problem, other.problem)
        return one.kind, Found((coding,), False, "a body cannot be decoded")
    if one.kind != other.kind:
        # Which of them is right nobody knows; that they are two kinds of thing is the difference.
        if one.text is None or other.text is None or depth:
            return content.BINARY, compare_binary(one.data, other.data)
        if one.text == other.text:
            return content.TEXT, Found()
        return content.TEXT, compare_text(one.text, other.text, rules)
    match one.kind:
        case content.JSON:
            return one.kind, compare_json(_utf8(one), _utf8(other), rules)
        case content.BINARY:
            return one.kind, compare_binary(one.data, other.data)
        case content.MULTIPART:
            return one.kind, _compare_multipart(one, other, legacy, new, rules, depth)
    assert one.text is not None
    assert other.text is not None
    match one.kind:
        case content.NDJSON:
            return one.kind, _compare_ndjson(_utf8(one), _utf8(other), rules)
        case content.FORM:
            return one.kind, _compare_loaded(load_form(one.text), load_form(other.text), rules)
        case content.XML:
            return one.kind, _compare_xml(one.text, other.text, rules)
        case content.HTML:
            (tree, cut), (other_tree, other_cut) = load_html(one.text), load_html(other.text)
            found = compare_values(tree, other_tree, rules)
            return one.kind, _cut(found) if cut or other_cut else found
    return one.kind, compare_text(one.text, other.text, rules)


def _utf8(one: Content) -> bytes:
    """JSON is UTF-8 (RFC 8259 §8.1); where the type says otherwise, it is what it says."""
    if one.text is None or one.problem:
        return one.data
    try:
        return one.text.encode("utf-8")
    except UnicodeEncodeError:
        return one.data


def _compare_loaded(one: object, other: object, rules: CompiledRules) -> Found:
    if isinstance(one, Unreadable) or isinstance(other, Unreadable):
        reasons = [each.reason if isinstance(each, Unreadable) else "" for each in (one, other)]
        return Found((_of_both(*reasons),))
    return compare_values(one, other, rules)


def _compare_ndjson(legacy: bytes, new: bytes, rules: CompiledRules) -> Found:
    if has_too_many_lines(legacy) or has_too_many_lines(new):
        return Found((), True, TOO_MUCH)
    one, other = ndjson_as_json(legacy), ndjson_as_json(new)
    if isinstance(one, Unreadable) or isinstance(other, Unreadable):
        return _compare_loaded(one, other, rules)
    return compare_json(one, other, rules)


def _compare_xml(one: str, other: str, rules: CompiledRules) -> Found:
    legacy, new = load_xml(one), load_xml(other)
    if isinstance(legacy, NotXml) or isinstance(new, NotXml):
        reasons = [each.reason if isinstance(each, NotXml) else "" for each in (legacy, new)]
        found = compare_text(one, other, rules)
        if reasons[0] == reasons[1]:
            return found
        return Found((_of_both(*reasons), *found.differences), found.truncated, found.detail)
    found = compare_values(legacy.tree, new.tree, rules)
    return _cut(found) if legacy.cut or new.cut else found


def _compare_multipart(
    one: Content,
    other: Content,
    legacy: Answer,
    new: Answer,
    rules: CompiledRules,
    depth: int,
) -> Found:
    """Part by part in their order, each by its own type."""
    before = load_multipart(first(legacy.headers, "content-type"), one.data)
    after = load_multipart(first(new.headers, "content-type"), other.data)
    if isinstance(before, Unreadable) or isinstance(after, Unreadable):
        reasons = [each.reason if isinstance(each, Unreadable) else "" for each in (before, after)]
        if reasons[0] != reasons[1]:
            return Found((_of_both(*reasons),))
        return compare_binary(one.data, other.data)
    if depth >= MAX_PART_DEPTH:
        return compare_binary(one.data, other.data)
    found: list[Difference] = []
    truncated, detail = False, ""
    for number in range(max(len(before), len(after))):
        if number >= len(after):
            path = f"$.part[{number}]"
            found.append(Difference(path, Kind.MISSING, before[number].name, ABSENT))
        elif number >= len(before):
            found.append(Difference(f"$.part[{number}]", Kind.ADDED, ABSENT, after[number].name))
        else:
            inside = _compare_part(number, before[number], after[number], rules, depth)
            found += inside.differences
            truncated, detail = truncated or inside.truncated, detail or inside.detail
    return Found(tuple(found), truncated, detail)


def _compare_part(number: int, one: Part, other: Part, rules: CompiledRules, depth: int) -> Found:
    if one == other or rules.ignores(("part", number)):
        return Found()
    found = []
    if one.name != other.name and not rules.ignores(("part", number, "name")):
        found.append(Difference(f"$.part[{number}].name", Kind.VALUE, one.name, other.name))
    step = one.name if one.name == other.name else str(number)
    rules = _of_part(rules, step)
    if rules.ignores(()):
        return Found()
    path = f"$.part{render_step(step)}"
    found += compare_part_headers(one.headers, other.headers, rules, path)
    legacy, new = Answer(200, one.headers, one.body), Answer(200, other.headers, other.body)
    _, inside = _compare_contents(
        content_of(legacy), content_of(new), legacy, new, rules, depth + 1
    )
    found += [
        Difference(path + each.path.removeprefix("$"), each.kind, each.legacy, each.new)
        for each in inside.differences
    ]
    return Found(tuple(found), inside.truncated, inside.detail)


def _of_part(rules: CompiledRules, name: str) -> CompiledRules:
    """The rules for what lies below `$.part.name`, as rules for a whole body."""

    def below(text: str) -> str | None:
        path = parse_path(text)
        if path and isinstance(path[0], Deep):
            return text
        if not path or path[0] not in ("part", Wild.KEY):
            return None
        if len(path) == 1 or isinstance(path[1], Deep):
            return "$" if len(path) == 1 else render(path[1:])
        return render(path[2:]) if path[1] in (name, Wild.KEY) else None

    def keyed(text: str) -> str | None:
        path, key = split_key(text)
        inside = below(path)
        return inside if inside is None or key is None else f"{inside} by {key}"

    given = rules.rules
    renames = ((below(old), below(new)) for old, new in given.rename.items())
    return compile_rules(
        msgspec.structs.replace(
            given,
            ignore=tuple(filter(None, map(below, _paths(given.ignore)))),
            unordered=tuple(filter(None, map(keyed, given.unordered))),
            tolerance={
                inside: most for text, most in given.tolerance.items() if (inside := below(text))
            },
            rename={old: new for old, new in renames if old and new and "$" not in (old, new)},
        )
    )


def _paths(entries: Iterable[str]) -> Iterator[str]:
    return (each for each in entries if each.startswith("$"))


def _of_both(one: str, other: str) -> Difference:
    return Difference("$", Kind.CODING, one or ABSENT, other or ABSENT)


def _cut(found: Found) -> Found:
    return Found(found.differences, True, "more elements or attributes than are looked at")
