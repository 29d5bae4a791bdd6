"""JSON bodies: parsed so that nothing is lost, then compared as values.

The fast path is orjson's. Where it could hide a difference (a long number becomes a float, a key
occurs twice, it refuses great depth or NaN), the exact path parses again: with the standard
library's parser, whose hooks see every number and every key, or, where that runs out of stack,
with a parser of our own that keeps its stack itself.
"""

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

import orjson

from comparators.model import ABSENT, Difference, Kind
from comparators.repeated import Objects, all_of_each, last_of_each
from comparators.rules import CompiledRules
from comparators.values import Found, compare_values

BOM: Final = b"\xef\xbb\xbf"
MAX_DEPTH: Final = 100_000
# A body with more arrays and objects, or more commas and colons around its values, is not parsed:
# two megabytes of `{}` make values of a hundred, and orjson does not outlive a lack of memory.
MAX_CONTAINERS: Final = 500_000
MAX_VALUES: Final = 2_000_000
TOO_MUCH: Final = "more values than are looked at"
MAX_SHARED_BYTES: Final = 1 << 20  # of a body whose values are kept for the next who asks

# What a float may not hold as it is written: many digits, or an exponent. First what is quickly
# found anywhere, then whether it stands where a number does: digits are zeros by then, signs one
# sign, and what a number may stand behind is a comma.
_OF_NUMBERS: Final = bytes.maketrans(b"0123456789.eE+-:[", b"00000000000ee--,,")
_SUSPECT: Final = (b"0" * 16, b"0e0", b"0e-")
_LONG_NUMBER = re.compile(rb",[ \t\n\r]*-?0(?:0{15}|0*e[-0])")
_SPACES: Final = b" \t\n\r"
_BY_NUMBER: Final = (b"u0022", b"u003a", b"u003A", b"u0020")  # a quote, a colon, a blank
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
    """A parsed body. `has_repeated`: there may be values of `comparators.repeated` in it."""

    value: Any
    has_repeated: bool = False


@dataclass(frozen=True, slots=True)
class NotJson:
    """Why a body is not JSON."""

    reason: str


def compare_json(legacy: bytes, new: bytes, rules: CompiledRules) -> Found:
    """The whole ladder of two JSON bodies, without a byte order mark. Never raises."""
    if legacy == new:
        return Found()
    if has_too_much(legacy) or has_too_much(new):
        return Found((), True, TOO_MUCH)
    one, other = _load(legacy), _load(new)
    if isinstance(one, NotJson) or isinstance(other, NotJson):
        return _not_both(one, other)
    found = compare_values(one.value, other.value, rules)
    if not one.has_repeated and not other.has_repeated:
        return found
    return Found(tuple(map(_plain, found.differences)), found.truncated, found.detail)


def load_json(body: bytes) -> Json | NotJson:
    """The value of a body; numbers that a float cannot hold are int or Decimal.

    It may begin with one byte order mark. Of a key that stands more than once in an object, the
    last value. It may be shared with whoever reads the same body next: do not change it.
    """
    if has_too_much(body):
        return NotJson(TOO_MUCH)
    loaded = _load(body.removeprefix(BOM))
    if isinstance(loaded, Json) and loaded.has_repeated:
        return Json(last_of_each(loaded.value))
    return loaded


def has_too_much(body: bytes) -> bool:
    """Whether there may be more values in a body than are looked at, by the marks between them.

    Those in strings count too: no text has so many.
    """
    if len(body) < MAX_CONTAINERS:
        return False
    containers = body.count(b"{") + body.count(b"[")
    return containers > MAX_CONTAINERS or (
        containers + body.count(b",") + body.count(b":") > MAX_VALUES
    )


def _load(data: bytes) -> Json | NotJson:
    is_shared = len(data) <= MAX_SHARED_BYTES
    loaded = _load_shared(bytes(data)) if is_shared else _load_quickly(data)
    return loaded or _load_exactly(data)


def _load_quickly(data: bytes) -> Json | None:
    """None where that may lose something, or the body cannot be read."""
    if _may_be_inexact(data):
        return None
    try:
        value = orjson.loads(data)
    except ValueError:
        return None
    return None if _may_repeat_keys(data, value) else Json(value)


# Two bodies are compared, and then read again for what differs to be shown. Whoever gets a value
# with repeated keys makes it one without them, so of those each gets its own.
_load_shared = lru_cache(maxsize=2)(_load_quickly)


def _may_be_inexact(data: bytes) -> bool:
    """Whether a number is written so that a float may not hold it."""
    alike = b"," + data.translate(_OF_NUMBERS)
    return any(each in alike for each in _SUSPECT) and _LONG_NUMBER.search(alike) is not None


def _may_repeat_keys(data: bytes, value: Any) -> bool:
    """Whether keys can have been lost: written again, a value has as many of them as it had.

    A key ends with a quote and a colon, spaces left out; inside a string that is `\\":` both times,
    unless one of these is escaped by its number.
    """
    if b"u00" in data and any(each in data for each in _BY_NUMBER):
        return True
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True  # orjson reads what nests four times as deep as what it writes
    return _key_ends(data) != _key_ends(written)


def _key_ends(data: bytes) -> int:
    return data.translate(None, _SPACES).count(b'":')


def _load_exactly(data: bytes) -> Json | NotJson:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return NotJson(f"invalid UTF-8 at byte {error.start}")
    objects = Objects()
    try:
        value = json.loads(
            text,
            object_pairs_hook=objects.of,
            parse_float=_exact_float,
            parse_int=_exact_int,
            parse_constant=_WORDS.__getitem__,
        )
    except RecursionError:
        try:
            value = _load_deeply(text, objects)
        except ValueError as error:
            return NotJson(str(error))
    except ValueError as error:
        return NotJson(str(error))
    return Json(value, objects.has_repeated)


def _exact_int(text: str) -> int | Decimal:
    # int() is quadratic, and CPython refuses more digits than this.
    return int(text) if len(text) <= 4000 else Decimal(text)


def _exact_float(text: str) -> float | Decimal:
    """A float where it is what was written, else a Decimal."""
    number = float(text)
    try:
        exact = Decimal(text)
    except InvalidOperation:
        raise ValueError("a number beyond all measure") from None
    if number in (float("inf"), float("-inf")) or Decimal(repr(number)) != exact:
        return exact
    return number


def _load_deeply(text: str, objects: Objects) -> Any:
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
                value, at = _closed(open_, objects), at + 1
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
            value, at = _closed(open_, objects), at + 1


def _closed(open_: list[tuple[list[Any], bool]], objects: Objects) -> Any:
    inside, is_object = open_.pop()
    return objects.of(inside) if is_object else inside


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


def _plain(difference: Difference) -> Difference:
    """A difference whose values are of JSON alone."""
    show = all_of_each if difference.kind is Kind.DUPLICATE_KEY else last_of_each
    return Difference(
        difference.path, difference.kind, show(difference.legacy), show(difference.new)
    )
