"""Sizes, times, shares, phases and the like, from the text of the file to numbers.

Rules: each parser takes the plain YAML value and raises ValueError with the rest of a sentence
that begins with the value ("is not a size; legal is ..."). Nothing is guessed: a number without
its unit is refused with what was probably meant.
"""

import math
import re
from difflib import get_close_matches

from proxy.core.model import DUAL_WRITE, LEGACY_ONLY, NEW_ONLY, SHADOW_READ, Phase
from proxy.core.policy import LatencyRule

_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_TIMES = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

MAX_SIZE = 1 << 50
MAX_TIME_S = 3650 * 86400.0

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
SIZE_PATTERN = r"[0-9]{1,15}(B|KiB|MiB|GiB|TiB)"
TIME_PATTERN = _NUMBER + r"(ms|s|m|h|d)"
SHARE_PATTERN = _NUMBER + r"%"
PHASE_PATTERN = r"(legacy-only|shadow-read|dual-write|new-only|100%|[1-9]?[0-9]%)"
LATENCY_PATTERN = r"[0-9]{1,6}(\.[0-9]{1,6})?x p(50|90|95|99)"

_SIZE = re.compile(r"([0-9]{1,15})([A-Za-z]+)")
_TIME = re.compile(rf"({_NUMBER})([A-Za-z]+)")
_SHARE = re.compile(rf"({_NUMBER})%")
_LATENCY = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)x p(50|90|95|99)")

SIZE_LEGAL = "a whole number with B, KiB, MiB, GiB or TiB, such as 64KiB"
TIME_LEGAL = "a number with ms, s, m, h or d, such as 500ms or 1h"
SHARE_LEGAL = "a share from 0% to 100%, such as 1%"
PHASE_LEGAL = "legacy-only, shadow-read, 0% to 100%, dual-write or new-only"
LATENCY_LEGAL = 'a factor and a percentile (p50, p90, p95 or p99), such as "1.5x p99"'

_PHASES = {
    "legacy-only": LEGACY_ONLY,
    "shadow-read": SHADOW_READ,
    "dual-write": DUAL_WRITE,
    "new-only": NEW_ONLY,
} | {f"{weight}%": Phase(weight) for weight in range(101)}


def parse_size(value: object) -> int:
    """Bytes: a whole number of them, or text with a unit of 1024s."""
    if type(value) is int:
        if 0 <= value <= MAX_SIZE:
            return value
        raise ValueError(f"is out of range; legal is {SIZE_LEGAL}")
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"is not a size; legal is {SIZE_LEGAL}")
    number, unit = found.groups()
    if unit not in _SIZES:
        meant = {name[0].lower(): name for name in _SIZES}.get(unit[0].lower())
        hint = f" (did you mean {number}{meant}?)" if meant else ""
        raise ValueError(f"is not a size{hint}; legal is {SIZE_LEGAL}")
    size = int(number) * _SIZES[unit]
    if size > MAX_SIZE:
        raise ValueError(f"is out of range; legal is {SIZE_LEGAL}")
    return size


def parse_time(value: object) -> float:
    """Seconds, from text with a unit. Zero is legal here; most keys refuse it."""
    if type(value) in (int, float):
        raise ValueError(f"has no unit (did you mean {value}s?); legal is {TIME_LEGAL}")
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if not found or found[2] not in _TIMES:
        raise ValueError(f"is not a time; legal is {TIME_LEGAL}")
    # Dividing keeps 500ms exactly 0.5.
    number = float(found[1])
    seconds = number / 1000 if found[2] == "ms" else number * _TIMES[found[2]]
    if seconds > MAX_TIME_S:
        raise ValueError("is longer than ten years")
    return seconds


def parse_positive_time(value: object) -> float:
    """Seconds, more than none."""
    seconds = parse_time(value)
    if seconds <= 0:
        raise ValueError(f"must be longer than nothing; legal is {TIME_LEGAL}")
    return seconds


def parse_share(value: object) -> float:
    """A share from 0 to 1, written in per cent."""
    if type(value) in (int, float):
        assert isinstance(value, int | float)
        meant = f"{value * 100:g}%" if 0 < value < 1 else f"{value:g}%"
        raise ValueError(f"has no % (did you mean {meant}?); legal is {SHARE_LEGAL}")
    found = _SHARE.fullmatch(value) if isinstance(value, str) else None
    share = float(found[1]) / 100 if found else 2.0
    if share > 1:
        raise ValueError(f"is not a share; legal is {SHARE_LEGAL}")
    return share


def parse_phase(value: object) -> Phase:
    """A phase by its name or weight. `100%` is `dual-write`."""
    phase = _PHASES.get(value) if isinstance(value, str) else None
    if phase is not None:
        return phase
    raise ValueError(_phase_refusal(value))


def _phase_refusal(value: object) -> str:
    if type(value) is int and 0 <= value <= 100:
        return f"is not a phase (did you mean {value}%?); legal is {PHASE_LEGAL}"
    if isinstance(value, str) and re.fullmatch(rf"{_NUMBER}%", value):
        return f"is not a phase: weights are whole, 0% to 100%; legal is {PHASE_LEGAL}"
    near = get_close_matches(str(value).lower()[:40], _PHASES, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"is not a phase{hint}; legal is {PHASE_LEGAL}"


def parse_latency(value: object) -> LatencyRule:
    """`"1.5x p99"`: a factor above 1 and a percentile."""
    found = _LATENCY.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"is not a latency rule; legal is {LATENCY_LEGAL}")
    factor = float(found[1])
    if factor <= 1:
        raise ValueError("would revert a route whose new side is as fast as legacy; use above 1x")
    return LatencyRule(factor, int(found[2]))


def parse_probability(value: object) -> float:
    """A number between 0 and 1, both excluded, such as 1e-6."""
    if type(value) is not float or not math.isfinite(value) or not 0 < value < 1:
        raise ValueError("is not a probability; legal is a number between 0 and 1, such as 1e-6")
    return value


def parse_tolerance(value: object) -> float:
    """How far two numbers may lie apart: a number, not negative."""
    if type(value) not in (int, float):
        raise ValueError("is not a tolerance; legal is a number such as 0.01")
    assert isinstance(value, int | float)
    if not 0 <= value <= 1e300:
        raise ValueError("is not a tolerance; legal is a number of 0 or more, such as 0.01")
    return float(value)
