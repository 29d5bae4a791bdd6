"""A YAML 1.2 file as plain values, and the place of each of them.

Rules: PyYAML's C loader composes nodes with marks, nothing is constructed by it. Scalars follow
the core schema of YAML 1.2 (`on`, `off`, `1:30` and dates stay text). Depth, and nodes after
aliases are expanded, are bounded: both while parsing and while turning nodes into values, since
a deep file would end the process by a stack overflow in the C loader. Tags and merge keys are
refused. `${NAME}` is filled in after parsing, so that no value of a variable can change the
structure. Problems are collected, not raised, so that several are reported together.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from proxy.config.environment import interpolate
from proxy.config.findings import Position
from proxy.config.syntax import advice, missing_space

MAX_DEPTH = 40
MAX_NODES = 500_000

# Keys and indexes from the root down.
Loc = tuple[str | int, ...]

_CONSTANTS: dict[str, bool | float | None] = {"": None, "~": None}
_CONSTANTS |= dict.fromkeys(("null", "Null", "NULL"), None)
_CONSTANTS |= dict.fromkeys(("true", "True", "TRUE"), True)
_CONSTANTS |= dict.fromkeys(("false", "False", "FALSE"), False)
_CONSTANTS |= dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan)
_CONSTANTS |= {
    sign + name: float(sign + "inf") for sign in ("", "+", "-") for name in (".inf", ".Inf", ".INF")
}
_INT = re.compile(r"[-+]?[0-9]{1,30}|0o[0-7]{1,30}|0x[0-9a-fA-F]{1,30}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_MAY_BE_NUMBER = frozenset("0123456789+-.")


class MalformedError(Exception):
    """The text cannot be taken as one bounded YAML document."""

    def __init__(self, code: str, position: Position, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.position = position
        self.text = text


class Problem:
    """Something wrong with one node that leaves the rest readable."""

    __slots__ = ("code", "loc", "position", "text")

    def __init__(self, code: str, position: Position, loc: Loc, text: str) -> None:
        self.code = code
        self.position = position
        self.loc = loc
        self.text = text


class _Loader(yaml.CSafeLoader):
    """Composes nodes, leaves implicit tags empty, and stops at MAX_DEPTH and MAX_NODES."""

    depth = 0
    nodes = 0

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return ""

    def descend_resolver(self, parent: Any, index: Any) -> None:
        self.depth += 1
        self.nodes += 1
        if self.depth > MAX_DEPTH:
            raise MalformedError("TOO_DEEP", _position(parent), _TOO_DEEP)
        if self.nodes > MAX_NODES:
            raise MalformedError("TOO_MANY_NODES", _position(parent), _TOO_MANY)

    def ascend_resolver(self) -> None:
        self.depth -= 1


_TOO_DEEP = f"values are nested more than {MAX_DEPTH} deep; no legal file is"
_TOO_MANY = (
    f"the file has more than {MAX_NODES:,} values once its aliases are expanded; "
    "say shared settings once, in defaults"
)


class Document:
    """The values of a file, what was wrong with single ones, and the way back to their places."""

    def __init__(self, text: str, env: Mapping[str, str]) -> None:
        """Raises MalformedError for text that has no structure to speak of."""
        self.problems: list[Problem] = []
        self.taken: dict[str, str] = {}  # variables that were filled in
        self._env = env
        self._nodes = 0
        # By identity: the tree is never changed and lives as long as this object.
        self._indexes: dict[int, dict[str | int, tuple[yaml.Node, yaml.Node]]] = {}
        self._root = _compose(text)
        self.value = self._plain(self._root, (), 0)

    def position(self, loc: Sequence[str | int], *, of_key: bool = False) -> Position:
        """Where the value at `loc` stands; of the nearest one that exists where it does not."""
        path = self._walk(loc)
        key, node = path[-1]
        return _position(key if key is not None and (of_key or _is_block(node)) else node)

    def existing(self, loc: Sequence[str | int]) -> Loc:
        """The part of `loc` that the file has; parts it never has (tags of unions) left out."""
        found: list[str | int] = []
        node = self._root
        for part in loc:
            step = self._step(node, part)
            if step is not None:
                found.append(part)
                node = step[1]
        return tuple(found)

    def written(self, loc: Sequence[str | int]) -> str | None:
        """The scalar at `loc` as it is written, before `${NAME}` is filled in; else None."""
        node = self._walk(loc)[-1][1]
        return node.value if isinstance(node, yaml.ScalarNode) else None

    def _walk(self, loc: Sequence[str | int]) -> list[tuple[yaml.Node | None, yaml.Node]]:
        path: list[tuple[yaml.Node | None, yaml.Node]] = [(None, self._root)]
        for part in loc:
            step = self._step(path[-1][1], part)
            if step is not None:
                path.append(step)
        return path

    def _children(self, node: yaml.MappingNode) -> dict[str | int, tuple[yaml.Node, yaml.Node]]:
        known = self._indexes.get(id(node))
        if known is None:
            known = self._indexes[id(node)] = {}
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    known.setdefault(self._filled(key), (key, value))
        return known

    def _step(self, node: yaml.Node, part: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
        if isinstance(node, yaml.MappingNode):
            return self._children(node).get(part)
        if (
            isinstance(node, yaml.SequenceNode)
            and isinstance(part, int)
            and 0 <= part < len(node.value)
        ):
            return None, node.value[part]
        return None

    def _plain(self, node: yaml.Node, loc: Loc, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise MalformedError("TOO_MANY_NODES", _position(node), _TOO_MANY)
        if depth > MAX_DEPTH:  # an alias to a collection that holds it comes here too
            raise MalformedError("TOO_DEEP", _position(node), _TOO_DEEP)
        if node.tag:
            self._problem(
                "TAG", node, loc, _TAG.format(node.tag.replace("tag:yaml.org,2002:", "!!"))
            )
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [
                self._plain(each, (*loc, index), depth + 1) for index, each in enumerate(node.value)
            ]
        return self._mapping(node, loc, depth)

    def _mapping(self, node: yaml.Node, loc: Loc, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        first: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem("BAD_KEY", key_node, loc, _BAD_KEY)
                continue
            key = self._text(key_node, loc)
            if key == "<<" and not key_node.style:
                self._problem("BAD_KEY", key_node, (*loc, key), _MERGE)
                continue
            if key in first:
                line = _position(first[key]).line
                self._problem(
                    "DUPLICATE_KEY",
                    key_node,
                    (*loc, key),
                    f"is here twice, first in line {line}; keep one of them",
                )
                continue
            first[key] = key_node
            values[key] = self._plain(value_node, (*loc, key), depth + 1)
        return values

    def _scalar(self, node: yaml.ScalarNode, loc: Loc) -> Any:
        text = self._text(node, loc)
        if node.style:
            return text
        return scalar(text)

    def _text(self, node: yaml.ScalarNode, loc: Loc) -> str:
        text: str = node.value
        if "${" not in text:
            return text
        filled, missing = interpolate(text, self._env, self.taken)
        for reason in missing:
            self._problem("ENVIRONMENT", node, loc, reason)
        return filled

    def _filled(self, node: yaml.ScalarNode) -> str:
        text: str = node.value
        return interpolate(text, self._env, {})[0] if "${" in text else text

    def _problem(self, code: str, node: yaml.Node, loc: Loc, text: str) -> None:
        self.problems.append(Problem(code, _position(node), loc, text))


_TAG = "has the tag {}; tags are not used here, leave it out"
_BAD_KEY = "a key is text, not a list or mapping; put text that begins with { or [ in quotes"
_MERGE = "merge keys (<<) are not part of YAML 1.2; what routes share belongs in defaults"


def scalar(text: str) -> Any:
    """A plain scalar by the core schema of YAML 1.2."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] in _MAY_BE_NUMBER:
        if _INT.fullmatch(text):
            return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def _compose(text: str) -> yaml.Node:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _malformed(text, error) from None
    except yaml.YAMLError as error:
        raise MalformedError(
            "SYNTAX", _reader_position(text, error), _reader_reason(error)
        ) from None
    finally:
        loader.dispose()
    if node is None:
        raise MalformedError("UNREADABLE", Position(), "the file has no content, only comments")
    return node


def _malformed(text: str, error: yaml.MarkedYAMLError) -> MalformedError:
    mark = error.problem_mark or error.context_mark
    context, begin = error.context or "", error.context_mark
    # What is not closed is at fault where it begins, not where the file ends; so is an alias.
    unclosed = "while parsing a flow" in context and mark is not None and _ends(text, mark.line)
    is_no_key = context.endswith("scanning a simple key")
    if begin is not None and (
        unclosed
        or is_no_key
        or "end of stream" in (error.problem or "")
        or context.endswith(("alias", "anchor"))
    ):
        mark = begin
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    reason = error.problem or "not YAML"
    if is_no_key or "mapping values are not allowed" in reason:
        spaceless = missing_space(text, line, is_no_key)
        if spaceless is not None:
            return MalformedError("SYNTAX", Position(*spaceless[:2]), spaceless[2])
    if context.startswith("expected a single document"):
        reason = "a second document begins here; keep one, without ---"
    elif context:
        reason = f"{reason} {context}"
    if unclosed:
        reason = f"a bracket or brace that opens here is not closed ({reason})"
        return MalformedError("SYNTAX", Position(line + 1, column + 1), reason)
    return MalformedError(
        "SYNTAX", Position(line + 1, column + 1), advice(text, line, column, reason)
    )


def _ends(text: str, line: int) -> bool:
    """Whether nothing is left from that line on."""
    return not any(each.strip() for each in text.splitlines()[line:])


def _reader_position(text: str, error: yaml.YAMLError) -> Position:
    at = getattr(error, "position", None)
    if not isinstance(at, int) or at < 0:
        return Position()
    before = text.encode()[:at].decode(errors="ignore")
    return Position(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _reader_reason(error: yaml.YAMLError) -> str:
    return f"this is not YAML: {getattr(error, 'reason', None) or error}"


def _position(node: yaml.Node | None) -> Position:
    if node is None:
        return Position()
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and not node.flow_style
