"""Request targets and their paths: what is matched is exactly what is forwarded.

`canonical_path` holds the written policy. Text here is str decoded as latin-1, one character a
byte, so that nothing is lost between the wire and the wire.
"""

import re
from typing import Final, Literal

import msgspec


class PathRefusal(msgspec.Struct, frozen=True):
    """Why a target is not served. `code` is for counting, `detail` for people."""

    code: str
    detail: str
    status: int = 400


class Target(msgspec.Struct, frozen=True):
    """A request target taken apart (RFC 9112 §3.2).

    `path` is as it came, not canonical yet: "/..." or, in asterisk-form, "*". `query` starts with
    its `?` and is empty when there is none. `authority` (absolute-form only) takes the place of
    the Host header.
    """

    path: str
    query: str = ""
    authority: str | None = None
    form: Literal["origin", "absolute", "asterisk"] = "origin"


# Visible ASCII but for % \ # ?, and no segment that begins with a dot: nothing to be done. No
# group captures: captures inside possessive repeats break re in CPython 3.11.
_is_plain: Final = re.compile(r"(?:/(?!\.)[!-\"$&-.0->@-\[\]-~]*+)++").fullmatch
_find_forbidden: Final = re.compile(r"[^!-~]|[\\#?]").search
_find_bad_escape: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|%00").search
_replace_escapes: Final = re.compile(r"%[0-9A-Fa-f]{2}").sub

_UNRESERVED: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_ESCAPES: Final = {
    f"%{high}{low}": (
        char if (char := chr(int(high + low, 16))) in _UNRESERVED else f"%{high}{low}".upper()
    )
    for high in "0123456789ABCDEFabcdef"
    for low in "0123456789ABCDEFabcdef"
}

_split_absolute: Final = re.compile(r"(?i:https?)://([^/?#]*)([^?]*)(.*)", re.DOTALL).fullmatch
_is_authority: Final = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?"
).fullmatch


def canonical_path(path: str) -> str | PathRefusal:
    r"""The one form of a path that is both matched against routes and sent to backends.

    The policy, in this order:

    1. A path starts with `/` and consists of visible ASCII. A control character, a space, a byte
       above 0x7E, a backslash or a `#` that is not escaped is refused with 400.
    2. `%` is followed by two hexadecimal digits. Anything else, and `%00`, is refused with 400.
    3. An escape of an unreserved character (letters, digits, `-`, `.`, `_`, `~`) is decoded, as
       both spellings mean the same (RFC 3986 §6.2.2.2); the digits of every other escape become
       upper case. This is done once: `%252e` stays `%252e`.
    4. Dot segments, those that appear by rule 3 included, are resolved (RFC 3986 §5.2.4). A path
       that climbs above the root is refused with 400.
    5. All else is data that Banyan does not interpret. `%2F` and `%5C` separate no segments,
       `;params` belong to their segment (so `..;` is an ordinary segment), an empty segment (`//`)
       is a segment. They are matched literally and forwarded as they are.

    The query is never looked at nor changed. The result is a fixed point of this function.
    """
    if _is_plain(path):
        return path
    if not path.startswith("/"):
        return PathRefusal("path_form", "the path does not start with /")
    if (found := _find_forbidden(path)) is not None:
        return PathRefusal("path_character", f"the path holds {_named(found[0])} unescaped")
    if "%" in path:
        if (found := _find_bad_escape(path)) is not None:
            if found[0] == "%00":
                return PathRefusal("path_nul", "the path holds an escaped NUL (%00)")
            return PathRefusal("path_escape", "the path holds a % without two hexadecimal digits")
        path = _replace_escapes(lambda escape: _ESCAPES[escape[0]], path)
    return _without_dot_segments(path) if "/." in path else path


def split_target(target: str, method: str | None = None) -> Target | PathRefusal:
    """Take a request target apart: origin-form, absolute-form or asterisk-form.

    authority-form is refused, since CONNECT is not served (501, RFC 9110 §9.3.6). With `method`
    given, `*` is refused for all but OPTIONS, and `OPTIONS http://host` means `*` (RFC 9112
    §3.2.4). The path still has to go through `canonical_path`.
    """
    if method == "CONNECT":
        return PathRefusal("connect", "CONNECT is not served", 501)
    if target.startswith("/"):
        path, mark, query = target.partition("?")
        return Target(path, mark + query)
    if target == "*":
        if method is not None and method != "OPTIONS":
            return PathRefusal("target_form", "the target * is for OPTIONS alone")
        return Target("*", form="asterisk")
    if (parts := _split_absolute(target)) is None:
        return PathRefusal("target_form", "the target is neither a path nor an http URL")
    authority, path, query = parts.groups()
    if _is_authority(authority) is None:
        # An empty host and user information are errors too (RFC 9110 §4.2.1, §4.2.4).
        return PathRefusal("target_authority", "the URL in the target has no valid host")
    if not path and not query and method == "OPTIONS":
        return Target("*", authority=authority, form="asterisk")
    return Target(path or "/", query, authority, "absolute")


def _without_dot_segments(path: str) -> str | PathRefusal:
    """RFC 3986 §5.2.4 over whole segments; an empty segment counts as one."""
    resolved: list[str] = []
    segments = path[1:].split("/")
    for segment in segments:
        if segment == "..":
            if not resolved:
                return PathRefusal("path_climbs", "the path climbs above the root")
            resolved.pop()
        elif segment != ".":
            resolved.append(segment)
    if segments[-1] in (".", ".."):
        resolved.append("")
    return "/" + "/".join(resolved)


def _named(char: str) -> str:
    """A character for an error message, safe to print."""
    names = {" ": "a space", "\\": "a backslash", "#": "a #", "?": "a ?"}
    return names.get(char) or f"the byte 0x{ord(char):02X}"
