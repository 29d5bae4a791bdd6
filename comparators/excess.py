"""How far a place diverges beyond what legacy does by itself: estimates with bounds.

A *share* here is that of the divergences of one place which its noise does not explain: 0 is all
noise, 1 is none. Two ways lead to it, each right under its own assumption alone:

- `of_rates` compares two rates: of pairs that diverge (legacy, new) and of controls that differ
  (legacy, legacy). Controls taken by chance are unbiased, whatever the noise looks like, also
  where it sits on a few targets only.
- `of_asks` looks at divergences after which legacy was asked a second time. If new is just
  another legacy, then its answer and legacy's first one are exchangeable, so the second answer
  equals the first (`agreed`) as often as it equals new's (`crossed`), on every target by itself.
  A real divergence only ever agrees. This needs no base rate and few samples.

Counts are floats, as they decay.
"""

import math
from typing import Final

import msgspec

# Two-sided 95 %: to show, and to call something noise.
Z_USUAL: Final = 1.96
# To let something count against what controls show. Small, as one looks at every divergence.
FALSE_ALARM: Final = 1e-4
_BISECTIONS: Final = 16
# What decayed to less says nothing (and its square would underflow).
NEGLIGIBLE: Final = 1e-9


class Excess(msgspec.Struct, frozen=True):
    """The share beyond noise: best estimate, upper bound, and whether it is surely above zero."""

    share: float
    high: float
    certain: bool


def wilson(count: float, total: float, z: float) -> tuple[float, float]:
    """Bounds of a share from `count` of `total` (Wilson 1927, score interval)."""
    if total < NEGLIGIBLE:
        return 0.0, 1.0
    p = min(max(count / total, 0.0), 1.0)
    spread = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    middle = p + z * z / (2 * total)
    scale = 1 + z * z / total
    return max((middle - spread) / scale, 0.0), min((middle + spread) / scale, 1.0)


def chernoff(count: float, total: float, above: bool) -> float:
    """A bound of a share, exceeded with a chance of at most FALSE_ALARM, however few are known.

    Where n KL(count / n, bound) = log(1 / FALSE_ALARM). For a count of 0 it is Clopper and
    Pearson's exact one; Wilson's is far too narrow there at such small chances.
    """
    if total < NEGLIGIBLE:
        return 1.0 if above else 0.0
    seen = min(max(count / total, 0.0), 1.0)
    limit = -math.log(FALSE_ALARM) / total
    inner, outer = seen, 1.0 if above else 0.0
    for _ in range(_BISECTIONS):
        middle = (inner + outer) / 2
        if _divergence(seen, middle) <= limit:
            inner = middle
        else:
            outer = middle
    return outer


def _divergence(p: float, q: float) -> float:
    """Kullback and Leibler's, of two coins."""
    if (p > 0 and q <= 0) or (p < 1 and q >= 1):
        return math.inf  # bisecting gets that close
    first = p * math.log(p / q) if p > 0 else 0.0
    return first + ((1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0)


def of_rates(diverged: float, pairs: float, differed: float, controls: float) -> Excess | None:
    """From the rate of divergence and that of noise; None while nothing can be said.

    The difference is bounded as by Newcombe (1998, method 10: the bounds of both rates, squared
    and added): the upper bound from Wilson's, the lower one from Chernoff's.
    """
    if controls < NEGLIGIBLE or diverged < NEGLIGIBLE:
        return None
    pairs = max(pairs, diverged)
    rate, noise = diverged / pairs, min(differed / controls, 1.0)
    low = rate - noise
    if low > 0:
        low_rate = chernoff(diverged, pairs, above=False)
        high_noise = chernoff(differed, controls, above=True)
        low -= math.hypot(rate - low_rate, high_noise - noise)
    _, high_rate = wilson(diverged, pairs, Z_USUAL)
    low_noise, _ = wilson(differed, controls, Z_USUAL)
    high = rate - noise + math.hypot(high_rate - rate, noise - low_noise)
    return Excess(max(rate - noise, 0.0) / rate, max(high, 0.0) / rate, low > 0)


def of_asks(agreed: float, crossed: float, asked: float) -> Excess | None:
    """From divergences asked again; `asked` includes those with a third value. None without any.

    The upper bound is Agresti and Min's (2005, matched pairs, half a count added to each cell).
    """
    if asked < NEGLIGIBLE:
        return None
    total = asked + 2
    lead = agreed - crossed
    variance = (agreed + crossed + 1 - lead * lead / total) / (total * total)
    high = lead / total + Z_USUAL * math.sqrt(max(variance, 0.0))
    return Excess(max(lead, 0.0) / asked, max(high, 0.0), _leads(agreed, crossed))


def _leads(agreed: float, crossed: float) -> bool:
    """Whether agreeing leads crossing by more than chance, however often one has looked.

    The likelihood ratio of a coin with an unknown bias (Jeffreys' mixture) against a fair one is
    a test martingale: it reaches 1/a with a chance of at most a, ever (Ville 1939, Robbins 1970).
    """
    tosses = agreed + crossed
    log_ratio = (
        tosses * math.log(2)
        + math.lgamma(agreed + 0.5)
        + math.lgamma(crossed + 0.5)
        - math.lgamma(tosses + 1)
        - math.log(math.pi)
    )
    return agreed > crossed and log_ratio >= -math.log(FALSE_ALARM)
