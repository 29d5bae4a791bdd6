"""What the evidence of a route says about it: passing, failing or inconclusive."""

from typing import Literal

import msgspec

from proxy.observe.window import Window


class Verdict(msgspec.Struct, frozen=True):
    """`verdict` of the admin API; `evidence` is the reason in one sentence."""

    state: Literal["passing", "failing", "inconclusive"]
    evidence: str


def verdict_of(window: Window) -> Verdict:
    """The verdict on a route. Nothing judges routes yet, so it is never more than inconclusive."""
    if not window.comparisons:
        return Verdict("inconclusive", "Nothing was compared in the last 5 minutes.")
    pairs = "1 pair" if window.comparisons == 1 else f"{window.comparisons} pairs"
    return Verdict(
        "inconclusive",
        f"{window.divergences} of {pairs} diverged in the last 5 minutes; no guard "
        "judges that yet, so nothing is reverted or advanced by itself.",
    )
