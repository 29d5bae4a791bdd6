"""The path of a route as written, taken apart: `/api/users/{id}`, `/api/orders/*`.

A pattern starts with `/`. `{name}` is one whole segment, `*` stands only as the last segment and
means everything below, the collection itself included. The rest is literal. It is brought into
the form of `canonical_path`, so that `/%7eann` means `/~ann`, and `/café` is what a client sends
for it (UTF-8, escaped).
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from proxy.core.model import Route
from proxy.core.paths import PathRefusal, canonical_path

MAX_SEGMENTS: Final = 128

_is_param = re.compile(r"\{[A-Za-z_][A-Za-z0-9_-]*\}").fullmatch
_escape_non_ascii = re.compile(r"[^\x00-\x7f]+").sub


class Pattern(msgspec.Struct, frozen=True):
    """The segments of a path pattern. In `segments` a parameter keeps its braces."""

    segments: tuple[str, ...]
    tail: bool  # ended with /*, which is not among the segments

    @classmethod
    def parse(cls, path: str) -> "Pattern":
        """Raises ValueError with the problem in words."""
        canonical = canonical_path(_escape_non_ascii(_escaped, path))
        if isinstance(canonical, PathRefusal):
            raise ValueError(canonical.detail)
        segments = canonical[1:].split("/")
        tail = segments[-1] == "*"
        if tail:
            segments.pop()
        if len(segments) > MAX_SEGMENTS:
            raise ValueError(f"a path has at most {MAX_SEGMENTS} segments")
        for segment in segments:
            if "*" in segment:
                raise ValueError(f"* stands only as the last segment, after a /, not in {segment}")
            if ("{" in segment or "}" in segment) and not _is_param(segment):
                raise ValueError(f"a parameter is a whole segment like {{name}}, not {segment}")
        names = [segment for segment in segments if segment.startswith("{")]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the parameter {name} stands twice in the path")
        return cls(tuple(segments), tail)

    @property
    def names(self) -> tuple[tuple[str, int], ...]:
        """The parameters: name and number of the segment, from 1."""
        return tuple(
            (segment[1:-1], index)
            for index, segment in enumerate(self.segments, 1)
            if segment.startswith("{")
        )

    @property
    def nameless(self) -> tuple[str, ...]:
        """The segments with the names of parameters left out: what decides which paths fit."""
        return tuple("{}" if segment.startswith("{") else segment for segment in self.segments)


class Rewrite(msgspec.Struct, frozen=True):
    """How the path for the new side is made from the one that came (`rewrite` of a route)."""

    parts: tuple[tuple[str, str], ...]  # text, and the parameter that follows it
    end: str  # the text after the last parameter
    tail_from: int | None  # the rest of the path after so many segments is carried over

    @classmethod
    def parse(cls, path: str, template: str) -> "Rewrite":
        """Compile the rewriting of paths that fit the pattern `path`.

        Raises ValueError with the problem in words.
        """
        source, target = Pattern.parse(path), Pattern.parse(template)
        known = {name for name, _ in source.names}
        if target.tail and not source.tail:
            raise ValueError("the rewrite ends with /* but the path of the route does not")
        parts: list[tuple[str, str]] = []
        text = ""
        for segment in target.segments:
            text += "/"
            if segment.startswith("{"):
                if segment[1:-1] not in known:
                    raise ValueError(f"the path of the route has no parameter {segment}")
                parts.append((text, segment[1:-1]))
                text = ""
            else:
                text += segment
        return cls(tuple(parts), text, len(source.segments) if target.tail else None)

    def apply(self, params: Mapping[str, str], path: str) -> str:
        """The path for new. Parameters and tail are carried over with their escapes."""
        result = ""
        for text, name in self.parts:
            result += text + params[name]
        result += self.end
        if self.tail_from is not None:
            rest = path.split("/", self.tail_from + 1)[self.tail_from + 1 :]
            result += "/" + rest[0] if rest else ""
        return result or "/"


def rewrite_problem(path: str, template: str) -> str | None:
    """What is wrong with the rewrite of a route of that path; None when nothing is."""
    try:
        Rewrite.parse(path, template)
    except ValueError as problem:
        return str(problem)
    return None


def specificity(route: Route, method: str) -> tuple[tuple[int, ...], int, int]:
    """A sort key: of the routes that take a request of this method, the least one wins."""
    pattern = Pattern.parse(route.path)
    path = tuple(1 if segment == "{}" else 0 for segment in pattern.nameless)
    by_method = 0 if method in route.methods else 1 if route.methods else 2
    return (*path, 2) if pattern.tail else path, 0 if route.host else 1, by_method


def normal_host(host: str) -> str:
    """A host as it is compared: lower case, without port and trailing dot."""
    host = host.lower()
    if host.startswith("["):
        return host[: host.find("]") + 1] or host
    return host.partition(":")[0].removesuffix(".")


def _escaped(text: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in text[0].encode("utf-8", "surrogatepass"))
