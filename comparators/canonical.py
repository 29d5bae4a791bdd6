"""One sequence of bytes for each value: what is hashed where a value must not be seen."""

from decimal import Decimal
from typing import Any

from comparators.repeated import Repeated


def canonical(value: Any) -> bytes:
    """The bytes of a value: others for others, however deep it is. Never raises.

    A text is itself, so that it is the same as a value and inside another text. Objects are the
    same whatever the order of their keys; 1, 1.0, true and "1" are four values.
    """
    if isinstance(value, str):
        return _utf8(value)
    pieces: list[bytes] = [b"\0"]
    stack: list[Any] = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            pieces.append(b"{%d" % len(each))
            for key in sorted(each, key=lambda key: (type(key).__name__, _scalar(key))):
                stack += (each[key], key)
        elif isinstance(each, list | tuple):
            pieces.append(b"[%d" % len(each))
            stack += each
        elif isinstance(each, Repeated):
            pieces.append(b"*%d" % len(each.values))
            stack += each.values
        else:
            scalar = _scalar(each)
            pieces += (type(each).__name__.encode(), b"%d:" % len(scalar), scalar)
    return b"".join(pieces)


def _scalar(value: Any) -> bytes:
    if isinstance(value, str):
        return _utf8(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, int):
        return hex(value).encode()  # decimal digits take quadratic time, and are refused
    if isinstance(value, float | Decimal):
        return str(value).encode()
    try:
        return _utf8(repr(value))
    except Exception:
        # Its own code, which may do anything.
        return b""


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
