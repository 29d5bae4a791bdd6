"""Limits of the client side that refuse what every client sends."""

from collections.abc import Iterator
from typing import Final

from proxy.config.findings import Finding
from proxy.config.places import Places
from proxy.core.model import Limits

# What a browser sends without any cookie fits, and little else.
USUAL_HEADER_BYTES: Final = 1024
USUAL_HEADERS: Final = 16
USUAL_S: Final = 0.1


def lint_limits(limits: Limits, places: Places) -> Iterator[Finding]:
    """LIMITS_TOO_LOW for each bound that usual requests do not keep."""
    for key, low, usual, why in (
        (
            "header_bytes",
            limits.header_bytes < USUAL_HEADER_BYTES,
            "1KiB",
            "browsers send heads of about that size",
        ),
        (
            "headers",
            limits.headers < USUAL_HEADERS,
            str(USUAL_HEADERS),
            "browsers send about as many",
        ),
        (
            "header_timeout",
            limits.header_timeout_s < USUAL_S,
            "100ms",
            "a head from far away takes longer",
        ),
        (
            "body_idle",
            limits.body_idle_s < USUAL_S,
            "100ms",
            "a network pauses longer now and then",
        ),
    ):
        if low:
            text = f"below {usual} most requests are refused: {why}; raise it, or leave it out"
            yield places.finding("LIMITS_TOO_LOW", ("limits", key), text)
