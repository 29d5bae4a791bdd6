"""JSON bodies: parsed so that nothing is lost, then compared as values.

The fast path is orjson's. Where it could hide a difference (a long number becomes a float, a key
occurs twice, it refuses great depth or NaN), the exact path parses again: with the standard
library's parser, whose hooks see every number and every key, or, where that runs out of stack,
with a parser of our own that keeps its stack itself.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import orjson

from comparators.model import ABSENT, Difference, Kind
from comparators.paths import render_step
from comparators.rules import CompiledRules
from comparators.values import Found, compare_values

BOM: Final = b"\xef\xbb\xbf"
MAX_DEPTH: Final = 100_000

# What a float may not hold as it is written: many digits, or an exponent. First what is quickly
# found anywhere, then whether it stands where a number does.
_DIGITS: Final = bytes(48 if byte in b"0123456789." else 32 for byte in range(256))
_MANY_DIGITS: Final = b"0" * 16
_MAY_BE_EXPONENT = re.compile(rb"[0-9][eE][-+0-9]")
_LONG_NUMBER = re.compile(rb"(?:^|[:,\[])[ \t\n\r]*-?[0-9](?:[0-9.]{15}|[0-9.]*[eE][-+0-9])")
_KEY_END = re.compile(rb'"[ \t\n\r]*:')
_SPACES_BEHIND_QUOTES: Final = (b'" ', b'"\n', b'"\t', b'"\r')
_SPACE = re.compile(r"[ \t\n\r]*")
_STRING_END = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SCALAR = re.compile(
    r"(?P<number>-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][-+]?[0-9]+)?)"
    r"|(?P<word>true|false|null|NaN|-?Infinity)"
)
_WORDS: Final = {
    "true": True,
    "false": False,
    "null": None,
    # Decimals, since what writes JSON again makes null of such floats, and so one of both.
    "NaN": Decimal("NaN"),
    "Infinity": Decimal("Infinity"),
    "-Infinity": Decimal("-Infinity"),
}


@dataclass(frozen=True, slots=True)
class Json:
    """A parsed body, and the keys (with the path of their object) that occur more than once."""

    value: Any
    duplicates: tuple[tuple[str, str], ...] = ()  # the key, and its values as text


@dataclass(frozen=True, slots=True)
class NotJson:
    """Why a body is not JSON."""

    reason: str


class _Duplicates:
    """Hears of every object, and remembers the keys that occur more than once in one."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def object_of(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            for key in made:
                values = [value for name, value in pairs if name == key]
                if len(values) > 1:
                    self.found.append((key, _text_of(values)))
        return made


def compare_json(legacy: bytes, new: bytes, rules: CompiledRules) -> Found:
    """The whole ladder of two JSON bodies. Never raises."""
    if legacy == new:
        return Found()
    one, other = load_json(legacy), load_json(new)
    if isinstance(one, NotJson) or isinstance(other, NotJson):
        return _not_both(one, other)
    found = compare_values(one.value, other.value, rules)
    duplicates = _duplicates(one, other)
    return Found((*duplicates, *found.differences), found.truncated, found.detail)


def load_json(body: bytes) -> Json | NotJson:
    """The value of a body; numbers that a float cannot hold are int or Decimal."""
    data = body[3:] if body.startswith(BOM) else body
    if not _may_be_inexact(data):
        try:
            value = orjson.loads(data)
        except ValueError:
            return _load_exactly(data)
        if not _may_repeat_keys(data, value):
            return Json(value)
    return _load_exactly(data)


def _may_be_inexact(data: bytes) -> bool:
    """Whether a number is written so that a float may not hold it."""
    suspect = _MANY_DIGITS in data.translate(_DIGITS) or _MAY_BE_EXPONENT.search(data)
    return bool(suspect) and _LONG_NUMBER.search(data) is not None


def _may_repeat_keys(data: bytes, value: Any) -> bool:
    """Whether keys can have been lost: written again, a value has as many of them as it had.

    A key ends with a quote and a colon; inside a string that is `\\":` both times.
    """
    if any(each in data for each in _SPACES_BEHIND_QUOTES):
        ends = len(_KEY_END.findall(data))
    else:
        ends = data.count(b'":')
    try:
        return ends != orjson.dumps(value).count(b'":')
    except orjson.JSONEncodeError:
        return True  # orjson reads what nests four times as deep as what it writes


def _load_exactly(data: bytes) -> Json | NotJson:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return NotJson(f"invalid UTF-8 at byte {error.start}")
    duplicates = _Duplicates()
    try:
        value = json.loads(
            text,
            object_pairs_hook=duplicates.object_of,
            parse_float=_exact_float,
            parse_int=_exact_int,
            parse_constant=_WORDS.__getitem__,
        )
    except RecursionError:
        duplicates = _Duplicates()
        try:
            value = _load_deeply(text, duplicates.object_of)
        except ValueError as error:
            return NotJson(str(error))
    except ValueError as error:
        return NotJson(str(error))
    return Json(value, tuple(sorted(duplicates.found)))


def _exact_int(text: str) -> int | Decimal:
    # int() is quadratic, and CPython refuses more digits than this.
    return int(text) if len(text) <= 4000 else Decimal(text)


def _exact_float(text: str) -> float | Decimal:
    """A float where it is what was written, else a Decimal."""
    number = float(text)
    try:
        exact = Decimal(text)
    except InvalidOperation:
        return number  # an exponent beyond all measure
    if number in (float("inf"), float("-inf")) or Decimal(repr(number)) != exact:
        return exact
    return number


def _load_deeply(text: str, object_of: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> Any:
    """The value of a text that nests deeper than the stack. Raises ValueError."""
    open_: list[tuple[list[Any], bool]] = []  # what is being filled; whether it is an object
    keys: list[str] = []
    at = _skip(text, 0)
    while True:
        char = text[at : at + 1]
        if char in ("[", "{"):
            if len(open_) >= MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
            open_.append(([], char == "{"))
            at = _skip(text, at + 1)
            if text[at : at + 1] == ("}" if char == "{" else "]"):
                value, at = _closed(open_, object_of), at + 1
            else:
                if char == "{":
                    at = _key(text, at, keys)
                continue
        else:
            value, at = _scalar(text, at)
        while True:  # the value is whole: put it where it belongs
            at = _skip(text, at)
            if not open_:
                if at != len(text):
                    raise ValueError(f"more behind the value at character {at}")
                return value
            inside, is_object = open_[-1]
            inside.append((keys.pop(), value) if is_object else value)
            char = text[at : at + 1]
            if char == ",":
                at = _skip(text, at + 1)
                if is_object:
                    at = _key(text, at, keys)
                break
            if char != ("}" if is_object else "]"):
                raise ValueError(f"no comma or end at character {at}")
            value, at = _closed(open_, object_of), at + 1


def _closed(
    open_: list[tuple[list[Any], bool]],
    object_of: Callable[[list[tuple[str, Any]]], dict[str, Any]],
) -> Any:
    inside, is_object = open_.pop()
    return object_of(inside) if is_object else inside


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _key(text: str, at: int, keys: list[str]) -> int:
    key, at = _scalar(text, at)
    if not isinstance(key, str):
        raise ValueError(f"no key at character {at}")
    at = _skip(text, at)
    if text[at : at + 1] != ":":
        raise ValueError(f"no colon at character {at}")
    keys.append(key)
    return _skip(text, at + 1)


def _scalar(text: str, at: int) -> tuple[Any, int]:
    if text[at : at + 1] == '"':
        found = _STRING_END.match(text, at + 1)
        if found is None:
            raise ValueError(f"an unclosed string at character {at}")
        return json.loads(text[at : found.end()]), found.end()
    scalar = _SCALAR.match(text, at)
    if scalar is None:
        raise ValueError(f"no value at character {at}")
    if scalar["word"]:
        return _WORDS[scalar["word"]], scalar.end()
    number = scalar["number"]
    is_float = scalar["fraction"] or scalar["exponent"]
    return (_exact_float if is_float else _exact_int)(number), scalar.end()


def _not_both(one: Json | NotJson, other: Json | NotJson) -> Found:
    legacy = one.reason if isinstance(one, NotJson) else ABSENT
    new = other.reason if isinstance(other, NotJson) else ABSENT
    both = isinstance(one, NotJson) and isinstance(other, NotJson)
    detail = "neither body is JSON, and they are not the same bytes" if both else ""
    return Found((Difference("$", Kind.CODING, legacy, new),), False, detail)


def _duplicates(one: Json, other: Json) -> list[Difference]:
    """Keys that occur more than once in an object of one side, and not so on the other."""
    if one.duplicates == other.duplicates:
        return []
    differing = sorted(set(one.duplicates) ^ set(other.duplicates)) or [*one.duplicates]
    found = []
    for key in dict.fromkeys(key for key, _ in differing):
        before = [values for name, values in one.duplicates if name == key]
        after = [values for name, values in other.duplicates if name == key]
        step = render_step(key)
        path = f"$.{step}" if step.startswith(".") else f"$..{step}"
        found.append(Difference(path, Kind.DUPLICATE_KEY, before or ABSENT, after or ABSENT))
    return found


def _text_of(values: list[Any]) -> str:
    try:
        return repr(values)
    except RecursionError:
        return f"{len(values)} values"
