"""The sticky draw: which clients of a route are among the first N per cent to move to new.

A client's draw depends on its sticky key and the route's name, never on the weight: it falls to
new where draw < N, so that raising N only adds clients. Two routes draw independently, so that the
clients who come first on one are not the ones who come first everywhere. The same key draws the
same in every worker, on every machine, after every restart.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from proxy.core.model import Sticky

_DRAW_BITS: Final = 48  # exact in a float


class StickyKey(msgspec.Struct, frozen=True, gc=False):
    """The key of one request. `missing`: the client's address stands in for it (counted)."""

    value: str
    missing: bool = False


def draw(route_name: str, key: str) -> float:
    """The draw of a key on a route, from 0 up to but not including 100."""
    return drawer(route_name)(key)


@lru_cache(maxsize=1024)
def drawer(route_name: str) -> Callable[[str], float]:
    """`draw` for one route, with the part that is the same for all keys done once and kept.

    BLAKE2b keyed with the route's name (hashed first, as a key has at most 64 bytes). The upper
    48 bits of 64 are the draw.
    """
    name = hashlib.blake2b(route_name.encode("utf-8", "surrogatepass"), digest_size=64).digest()
    keyed = hashlib.blake2b(key=name, digest_size=_DRAW_BITS // 8)
    scale = 100 / (1 << _DRAW_BITS)

    def draw_of(key: str) -> float:
        state = keyed.copy()
        state.update(key.encode("utf-8", "surrogatepass"))
        return int.from_bytes(state.digest(), "big") * scale

    return draw_of


def sticky_header(sticky: Sticky) -> str | None:
    """The name (lower case) of the header that `sticky_key` wants to see; None for none."""
    if sticky.kind == "cookie":
        return "cookie"
    return sticky.name.lower() if sticky.kind == "header" else None


def sticky_key(
    sticky: Sticky, header: str | None, params: Mapping[str, str], client_ip: str
) -> StickyKey:
    """The key by which a request is drawn.

    `header` is the value of the header `sticky_header` names (several lines joined with "; "),
    None when there is none. A key that is absent or empty is missing.
    """
    if sticky.kind == "client-ip":
        return StickyKey(client_ip)
    if sticky.kind == "param":
        value = params.get(sticky.name)
    elif sticky.kind == "cookie":
        value = cookie_value(header, sticky.name) if header else None
    else:
        value = header.strip(" \t") if header else None
    return StickyKey(value) if value else StickyKey(client_ip, missing=True)


def cookie_value(header: str, name: str) -> str | None:
    """The first value of that name in a Cookie header, as it came; None when there is none.

    Takes whatever clients send (RFC 6265 §5.4 is what they should): pairs are separated by `;`,
    white space around names and values counts for nothing, and what is not a pair is passed over.
    """
    if name not in header:
        return None
    found = _cookie_pattern(name).search(header)
    return found[1].rstrip(" \t") if found is not None else None


@lru_cache(maxsize=1024)
def _cookie_pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|;)[ \t]*{re.escape(name)}[ \t]*=[ \t]*([^;]*)")
