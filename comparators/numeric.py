"""Numbers of JSON as they are written: when two are the same, and one spelling for each."""

import math
import re
from decimal import Decimal
from typing import Any, Final

NUMBERS: Final = frozenset((int, float, Decimal))
# No exponent, no zeros in front, no spaces: "00501" is a postcode and " 5 " is text.
_WRITTEN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?")
_MAX_WRITTEN: Final = 400  # characters


def same_number(one: Any, other: Any) -> bool:
    """Whether two numbers are of one value; a float stands for its shortest text."""
    if one != one or other != other:
        return bool(one != one and other != other)  # NaN is NaN
    if one.__class__ is not other.__class__ and float in (one.__class__, other.__class__):
        return exactly(one) == exactly(other)
    return bool(one == other)


def within(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two numbers lie no further apart than that."""
    if same_number(one, other):
        return True
    try:
        if not math.isfinite(one) or not math.isfinite(other):
            return False
        # Exact: 0.1 + 0.2 is not 0.3 in floats, and what is meant is the number as written.
        return abs(exactly(one) - exactly(other)) <= exactly(tolerance)
    except (ArithmeticError, ValueError, OverflowError):
        return False


def exactly(number: Any) -> Decimal:
    """The number as written, not all of the bits that a float has."""
    return Decimal(repr(number)) if number.__class__ is float else Decimal(number)


def number_of(value: Any) -> Any:
    """A number, or text that is one as JSON writes it; None where it is neither."""
    if value.__class__ in NUMBERS:
        return value
    if value.__class__ is not str or len(value) > _MAX_WRITTEN:
        return None
    found = _WRITTEN_NUMBER.fullmatch(value)
    if found is None:
        return None
    return Decimal(value) if found[1] else int(value)


def spelling(number: Any) -> str:
    """One text for all numbers of one value: `12e1` for 120, 120.0 and 1.2e2."""
    if number.__class__ is int:
        written = str(number)
        kept = written.rstrip("0")
        return f"{kept}e{len(written) - len(kept)}" if number else "0"
    exact = exactly(number)
    if not exact.is_finite():
        return str(exact)
    sign, digits, exponent = exact.as_tuple()
    assert isinstance(exponent, int)
    written = "".join(map(str, digits))
    kept = written.rstrip("0")
    if not kept:
        return "0"
    return f"{'-' * sign}{kept}e{exponent + len(written) - len(kept)}"
