"""The answers that are kept with a divergence, so that other rules can be tried on them.

They are redacted, and read and written anew, so comparing them does not always come to what
comparing the answers themselves did: a number that is a secret has become text, a key that stood
twice stands once. Where that is so is found out when they are recorded, and kept with them.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from comparators.compare import content_of
from comparators.decode import decode_content
from comparators.headers import all_of
from comparators.model import Answer, Comparison, Outcome, Rules
from comparators.paths import Deep, JsonPath, Step, Wild, parse_path
from comparators.redaction import NESTED_DEEPER, Redactor
from comparators.rules import COOKIE, HEADER, CompiledRules, split_key
from comparators.secrets import MARK
from proxy.core.divergences import RecordedAnswer, Unlike, wildcarded

MAX_UNLIKE: Final = 50
MAX_RECORDED_BYTES: Final = 64 << 10
# What cannot be compared again by any rules.
NEVER_LIKE: Final = Unlike("$", "", lost=True, rules="")

_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)

Place = tuple[str, str]  # wildcarded path and kind


class Kept(msgspec.Struct, frozen=True):
    """What is kept of a pair beside its differences."""

    legacy: RecordedAnswer | None = None
    new: RecordedAnswer | None = None
    unlike: tuple[Unlike, ...] = ()


def recorded(answer: Answer, redactor: Redactor) -> RecordedAnswer:
    """The answer as it is kept, its content coding undone."""
    content = content_of(answer)
    body = redactor.body(content.text, content.kind) if content.text is not None else None
    return RecordedAnswer(answer.status, redactor.headers(answer.headers), body)


def are_small(*answers: Answer) -> bool:
    """Whether answers together are within MAX_RECORDED_BYTES, as sent and with codings undone."""
    if sum(len(each.body) for each in answers) > MAX_RECORDED_BYTES:
        return False
    return sum(map(_decoded_bytes, answers)) <= MAX_RECORDED_BYTES


def _decoded_bytes(answer: Answer) -> int:
    coding = all_of(answer.headers, "content-encoding")
    return len(decode_content(coding, answer.body).data)


def why_not_again(legacy: RecordedAnswer | None, new: RecordedAnswer | None) -> str:
    """Why these cannot be compared; empty where they can."""
    if legacy is None or new is None:
        return "the answers were not recorded"
    if legacy.body is None or new.body is None:
        return "a body was not recorded"
    if NESTED_DEEPER in legacy.body or NESTED_DEEPER in new.body:
        return "a body is nested too deep to be recorded whole"
    return ""


def answer_of(record: RecordedAnswer) -> Answer:
    """The answer that a record stands for, as comparators take it."""
    body = in_its_charset(record.headers, record.body or "")
    return Answer(record.status, without_coding(record.headers), body)


def without_coding(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The headers of an answer whose content coding has been undone."""
    return tuple(each for each in headers if each[0].lower() != "content-encoding")


def in_its_charset(headers: Iterable[tuple[str, str]], text: str) -> bytes:
    """The text as bytes that say again what it says, by the headers."""
    types = [value for name, value in headers if name.lower() == "content-type"]
    charset = _CHARSET.search(types[0]) if types else None
    try:
        return text.encode(charset[1] if charset else "utf-8")
    except (LookupError, UnicodeError):
        return text.encode("utf-8", "replace")


def places(comparison: Comparison, redactor: Redactor) -> set[Place]:
    """Where they differ, without secrets, each place once."""
    return {
        (wildcarded(redactor.path(each.path)), each.kind.value) for each in comparison.differences
    }


def unlike(
    found: set[Place],
    kept: Kept,
    compare: Callable[[Answer, Answer], Comparison],
    rules: Rules,
    redactor: Redactor,
) -> tuple[Unlike, ...]:
    """Where comparing what is kept does not come to what was found between the answers."""
    if kept.legacy is None or kept.new is None or why_not_again(kept.legacy, kept.new):
        return ()
    again = compare(answer_of(kept.legacy), answer_of(kept.new))
    found_again = places(again, redactor)
    differing = sorted(found ^ found_again)
    if again.outcome is Outcome.COMPARATOR_FAILED or len(differing) > MAX_UNLIKE:
        return (NEVER_LIKE,)
    return tuple(
        Unlike(*place, lost=place in found, rules=_rules_at(rules, place[0])) for place in differing
    )


def as_found(
    found_again: set[Place], known: Sequence[Unlike], compiled: CompiledRules
) -> set[Place] | None:
    """Where the answers themselves differ by these rules, by where what is kept of them does.

    None where that cannot be said: other rules hold in a place that does not compare the same.
    """
    found = set(found_again)
    for each in known:
        place = (each.path, each.kind)
        if each.lost == (place in found) or _is_ignored(each.path, compiled):
            continue
        if each.rules != _rules_at(compiled.rules, each.path):
            return None
        found ^= {place}
    return found


def _is_ignored(path: str, compiled: CompiledRules) -> bool:
    if path.startswith(HEADER):
        return path.removeprefix(HEADER).lower() in compiled.ignored_headers
    if path.startswith(COOKIE):
        return path.removeprefix(COOKIE) in compiled.ignored_cookies
    steps = _steps(path)
    return steps is not None and any(
        entry is not None and _is_within(steps, entry)
        for entry in map(_steps, compiled.rules.ignore)
    )


def _is_within(steps: JsonPath, entry: JsonPath) -> bool:
    """Whether a rule with this path surely means the place, or what is around it."""
    if len(entry) == 1 and isinstance(entry[0], Deep):
        return entry[0] in steps
    return len(entry) <= len(steps) and all(map(_covers, entry, steps))


def _rules_at(rules: Rules, path: str) -> str:
    """A digest of the rules that may decide what differs in a place, around it or below it."""
    steps = _steps(path)
    if steps is None:
        mine = [each for each in rules.ignore if not each.startswith("$")]
        said: object = [rules.with_, rules.status, rules.headers, sorted(mine)]
    else:

        def speaks(text: str) -> bool:
            return _may_touch(_steps(split_key(text)[0]), steps)

        said = [
            *(rules.with_, sorted(rules.lenient)),
            *(sorted(filter(speaks, entries)) for entries in (rules.ignore, rules.unordered)),
            sorted((text, each) for text, each in rules.tolerance.items() if speaks(text)),
            sorted(each for each in rules.rename.items() if any(map(speaks, each))),
        ]
    return blake2b(msgspec.json.encode(said), digest_size=6).hexdigest()


def _steps(path: str) -> JsonPath | None:
    """None for what is no path into a body; one that was cut, or is none, may lead anywhere."""
    if not path.startswith("$"):
        return None
    try:
        steps = parse_path(path)
    except ValueError:
        return ()
    if path.endswith("…"):
        return ()
    # What a redacted key was is not known.
    return tuple(Wild.KEY if isinstance(step, str) and MARK in step else step for step in steps)


def _may_touch(entry: JsonPath | None, steps: JsonPath) -> bool:
    if entry is None:
        return False
    if any(isinstance(step, Deep) for step in (*entry, *steps)):
        return True
    pairs = zip(entry, steps, strict=False)
    return all(_covers(one, other) or _covers(other, one) for one, other in pairs)


def _covers(entry: Step, step: Step) -> bool:
    """Whether a step of a rule means this step of a place, and all that it stands for."""
    if entry is Wild.ITEM:
        return step is Wild.ITEM or isinstance(step, int)
    if entry is Wild.KEY:
        return step is Wild.KEY or (isinstance(step, str) and not isinstance(step, Deep))
    return entry == step and not isinstance(entry, Deep)
