"""A route key, `[METHOD[,METHOD] ][host]/path`, taken apart and checked.

Rules: what a path pattern may be is said by `core.patterns`, here is what stands before it.
Names made from keys depend on the key alone: a route must not lose its state because another one
was added.
"""

import hashlib
import ipaddress
import re
from dataclasses import dataclass

from proxy.config.types import parse_method
from proxy.core.patterns import Pattern

LEGAL = "[METHOD[,METHOD] ][host]/path, such as /api/users/{id} or GET,HEAD example.com/api/*"
MAX_KEY = 2048
NAME_LENGTH = 64

_KEY = re.compile(r"(?:(?P<methods>[^/\s]+) +)?(?P<host>[^/\s]*)(?P<path>/\S*)")
_SCHEME = re.compile(r"(?:\S+ +)?([A-Za-z][A-Za-z0-9+.-]*://)")
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_-]+)*")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._]+")
# Paths without parameters that are in canonical form as they are: most of a large table.
_PLAIN = re.compile(r"(?:/(?!\.)[A-Za-z0-9._~-]*){1,60}(?:(?<!/)/\*)?|/\*")


@dataclass(frozen=True, slots=True)
class RouteKey:
    """The parts of a key. `shape`: the segments, parameters made anonymous; ends with `/*`?"""

    methods: tuple[str, ...]  # empty: any
    host: str | None  # lower case, without port
    path: str
    params: tuple[str, ...]
    shape: tuple[tuple[str, ...], bool]


def parse_route_key(text: str) -> RouteKey:
    """The parts of a key. Raises ValueError with the rest of a sentence."""
    if len(text) > MAX_KEY:
        raise ValueError(f"is longer than {MAX_KEY} characters")
    if scheme := _SCHEME.match(text):
        raise ValueError(f"begins with {scheme[1][:20]}; leave that out, routes match any scheme")
    found = _KEY.fullmatch(text)
    if not found:
        if text.strip() != text or re.search(r", ", text):
            raise ValueError(f"has a space too many; legal is {LEGAL}")
        near = f" (did you mean /{text}?)" if re.fullmatch(r"[\w.{}*-]+", text) else ""
        raise ValueError(f"is not a route{near}; legal is {LEGAL}")
    methods = _methods(found["methods"]) if found["methods"] else ()
    host = parse_host(found["host"]) if found["host"] else None
    path = found["path"]
    if _PLAIN.fullmatch(path):
        segments = path.split("/")[1:]
        if segments[-1] == "*":
            return RouteKey(methods, host, path, (), (tuple(segments[:-1]), True))
        return RouteKey(methods, host, path, (), (tuple(segments), False))
    try:
        pattern = Pattern.parse(path)
    except ValueError as problem:
        hint = "; routes match paths, never queries" if "?" in path else ""
        raise ValueError(f"cannot be a route: {problem}{hint}") from None
    return RouteKey(
        methods, host, path, tuple(n for n, _ in pattern.names), (pattern.nameless, pattern.tail)
    )


def parse_host(text: str) -> str:
    """A host name or IP address in lower case. Raises ValueError."""
    if "*" in text:
        raise ValueError("has a * in its host; legal is one whole host name, or none for any")
    if not text.isascii():
        raise ValueError("has a host that is not ASCII; write it in its xn-- form")
    host = text.lower()
    if not host.startswith("["):
        host = host.removesuffix(".")
    else:
        literal, _, rest = host[1:].partition("]")
        if rest:
            raise ValueError("has a port behind its host; leave it out, routes match any port")
        try:
            return f"[{ipaddress.IPv6Address(literal)}]"
        except ValueError:
            raise ValueError("has no IPv6 address in its brackets") from None
    if re.search(r":[0-9]*$", host):
        raise ValueError("has a port behind its host; leave it out, routes match any port")
    if host.upper() == text and "." not in text and re.fullmatch(r"[A-Z,]+", text):
        raise ValueError(f"needs a space between {text} and the path")
    if not _HOST.fullmatch(host):
        raise ValueError(f"has no valid host ({text[:60]}); legal is {LEGAL}")
    return host


def _methods(text: str) -> tuple[str, ...]:
    methods: list[str] = []
    for each in text.split(","):
        if not each:
            raise ValueError(f"has an empty method; legal is {LEGAL}")
        try:
            method = parse_method(each)
        except ValueError as error:
            raise ValueError(f"has a method that is wrong: {each[:40]} {error}") from None
        if method in methods:
            raise ValueError(f"has {method} twice")
        methods.append(method)
    return tuple(methods)


def default_name(key: RouteKey) -> str:
    """A name for labels and URLs: `GET a.com/users/{id}` is `get-a.com-users-id`.

    A trailing `/*` leaves no trace; the root is `root` and everything `all`.
    """
    path = key.path.removesuffix("/*")
    whole = " ".join((*(m.lower() for m in key.methods), key.host or "", path))
    name = _NOT_IN_NAME.sub("-", whole).strip("-._")
    if not path.strip("/"):
        name = f"{name}-{'all' if key.path == '/*' else 'root'}".lstrip("-")
    if not name:
        name = "route-" + _short_hash(key.path)
    if len(name) > NAME_LENGTH:
        name = f"{name[: NAME_LENGTH - 9].rstrip('-._')}-{_short_hash(whole)}"
    return name


def _short_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
