"""Redaction: what of a difference, a header or a body may be shown, logged and stored.

A secret becomes `redacted:` and twelve digits of a keyed hash of it. So equality stays visible,
between the sides and between requests, and without the key nobody can try values out. A place is
secret by its name or that of anything around it, by the rules (`redact`), or by its shape in any
text, keys and paths included. Texts are cut after that, never before: half of a card number would
be none any more.
"""

import json
import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from comparators import content
from comparators.form import Unreadable, load_ndjson
from comparators.json import NotJson, load_json
from comparators.model import ABSENT, SHOWN_CHARACTERS, Difference, ShownDifference
from comparators.paths import Automaton, Deep, JsonPath, State, Wild, parse_path, render
from comparators.secrets import is_secret_name, secret_spans

MARK: Final = "redacted:"
MAX_DEPTH: Final = 200  # of what is shown or kept; deeper values are named only

# What a terminal, a log or a page could take for something else: control characters, overrides of
# the direction of text, the separators of lines and paragraphs, lone surrogates.
_UNSHOWABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_HASHED = re.compile(MARK + "[0-9a-f]{12}")
_COOKIE_PAIR = re.compile(r"([^=;\s]+)=([^;]*)")
_ELEMENT = re.compile(r"(<([A-Za-z_][\w.:-]*)\b[^<>]*>)([^<]+)(?=</)")
_ATTRIBUTE = re.compile(r"""([A-Za-z_][\w.:-]*)(\s*=\s*)("[^"]*"|'[^']*')""")
_SECRET_HEADERS: Final = frozenset(
    ("authorization", "proxy-authorization", "www-authenticate", "cookie", "set-cookie")
)


class Redactor:
    """Redacts with the key of an installation and the `redact` of some rules.

    Raises ValueError on a path that is none. No method raises on any value.
    """

    def __init__(self, key: bytes, redact: Iterable[str] = ()) -> None:
        self._key = key
        listed = tuple(redact)
        self._headers = {e[len("header:") :].lower() for e in listed if e.startswith("header:")}
        self._places = Automaton[bool](
            (parse_path(each), True) for each in listed if each.startswith("$")
        )

    # What is shown

    def show(self, difference: Difference) -> ShownDifference:
        """The difference as text."""
        path = difference.path
        secret, state = self._place(path)
        return ShownDifference(
            self.path(path),
            difference.kind.value,
            self._shown(difference.legacy, secret, state),
            self._shown(difference.new, secret, state),
        )

    def path(self, path: str) -> str:
        """A path, its keys redacted where they are secrets themselves."""
        steps = _steps(path)
        if steps is None:
            return showable(self.text(path))
        shown = tuple(
            self.text(step) if isinstance(step, str) and not isinstance(step, Deep) else step
            for step in steps
        )
        return showable(render(shown))

    def target(self, target: str) -> str:
        """The path of a request."""
        return showable(self.text(target.partition("?")[0]))

    def text(self, text: str) -> str:
        """Any text, the secrets in it replaced."""
        if len(text) < _SHORTEST:
            return text
        spans = secret_spans(text)
        for begin, end in reversed(spans):
            if not _HASHED.fullmatch(text, begin, end):
                text = text[:begin] + self.hashed(text[begin:end]) + text[end:]
        return text

    def hashed(self, value: Any) -> str:
        """What stands for a secret value."""
        if isinstance(value, str) and _HASHED.fullmatch(value):
            return value
        digest = blake2b(_canonical(value), key=self._key[:64], digest_size=6)
        return MARK + digest.hexdigest()

    # What is kept

    def document(self, value: Any) -> Any:
        """A copy of a tree of values without its secrets."""
        return self._copy(value, False, self._places.start)

    def headers(self, headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """The headers of a message without their secrets."""
        return tuple((name, self._header(name, value)) for name, value in headers)

    def body(self, text: str, kind: str) -> str | None:
        """The text of a body without its secrets, by its kind; None for a binary one."""
        match kind:
            case content.JSON:
                loaded = load_json(text.encode("utf-8", "replace"))
                if not isinstance(loaded, NotJson):
                    return json.dumps(self.document(loaded.value), default=str)
            case content.NDJSON:
                lines = load_ndjson(text.encode("utf-8", "replace"))
                if not isinstance(lines, Unreadable):
                    redacted = (json.dumps(self.document(line), default=str) for line in lines)
                    return "\n".join(redacted)
            case content.FORM:
                return self._form(text)
            case content.XML | content.HTML:
                return self.text(self._markup(text))
            case content.BINARY | content.MULTIPART:
                return None
        return self.text(text)

    # Inside

    def _header(self, name: str, value: str) -> str:
        lower = name.lower()
        if lower in ("cookie", "set-cookie"):
            pairs = _COOKIE_PAIR.findall(value)
            if lower == "set-cookie" and pairs:
                first, (_, _, attributes) = pairs[0], value.partition(";")
                shown = f"{first[0]}={self.hashed(first[1].strip())}"
                return f"{shown};{attributes}" if attributes else shown
            return "; ".join(f"{key}={self.hashed(each.strip())}" for key, each in pairs)
        if lower in _SECRET_HEADERS or lower in self._headers or is_secret_name(name):
            return self.hashed(value)
        return self.text(value)

    def _form(self, text: str) -> str:
        try:
            pairs = parse_qsl(text.strip(), keep_blank_values=True, max_num_fields=10_000)
        except ValueError:
            return self.text(text)
        document = self.document
        return urlencode(
            [
                (
                    self.text(key),
                    document({key: each})[key] if key == self.text(key) else self.hashed(each),
                )
                for key, each in pairs
            ]
        )

    def _markup(self, text: str) -> str:
        def element(found: re.Match[str]) -> str:
            return found[1] + (self.hashed(found[3]) if is_secret_name(found[2]) else found[3])

        def attribute(found: re.Match[str]) -> str:
            if not is_secret_name(found[1]):
                return found[0]
            return f'{found[1]}{found[2]}"{self.hashed(found[3][1:-1])}"'

        return _ATTRIBUTE.sub(attribute, _ELEMENT.sub(element, text))

    def _place(self, path: str) -> tuple[bool, "State[bool] | None"]:
        """Whether a place is secret as a whole, and where the rules stand there."""
        if path.startswith("header:"):
            name = path.removeprefix("header:").lower()
            secret = name in _SECRET_HEADERS or name in self._headers or is_secret_name(name)
            return secret, None
        if path.startswith("cookie:"):
            # The value is; an attribute of it is not.
            return "." not in path.removeprefix("cookie:"), None
        state = self._places.start
        steps = _steps(path) or ()
        if state is not None and state.matches:
            return True, state
        for step in steps:
            if isinstance(step, Wild):
                continue
            if isinstance(step, str):
                if is_secret_name(step):
                    return True, state
                state = state.key(step) if state is not None else None
            else:
                state = state.item(step) if state is not None else None
            if state is not None and state.matches:
                return True, state
        return False, state

    def _shown(self, value: Any, secret: bool, state: "State[bool] | None") -> str | None:
        if value is ABSENT:
            return None
        if secret:
            return self.hashed(value)
        try:
            text = json.dumps(self._copy(value, False, state), ensure_ascii=False, default=str)
        except (RecursionError, ValueError, TypeError):
            text = f"({type(value).__name__} that cannot be shown)"
        text = showable(text)
        if len(text) > SHOWN_CHARACTERS:
            text = text[: SHOWN_CHARACTERS - 1] + "\u2026"
        return text

    def _copy(self, value: Any, secret: bool, state: "State[bool] | None") -> Any:
        """A redacted copy, made without recursion; what is too deep is named and not copied."""
        root: list[Any] = [None]
        stack: list[tuple[Any, Any, Any, bool, State[bool] | None, int]] = [
            (value, root, 0, secret or bool(state and state.matches), state, 0)
        ]
        while stack:
            each, into, at, is_secret, here, depth = stack.pop()
            if is_secret:
                into[at] = self.hashed(each)
            elif each.__class__ is str:
                into[at] = self.text(each)
            elif each.__class__ is dict:
                if depth >= MAX_DEPTH:
                    into[at] = "(nested deeper)"
                    continue
                made: dict[str, Any] = {}
                into[at] = made
                for key, inner in each.items():
                    below = here.key(key) if here is not None else None
                    name = self.text(key)
                    made[name] = None  # keeps the order
                    hidden = is_secret_name(key) or bool(below and below.matches)
                    stack.append((inner, made, name, hidden, below, depth + 1))
            elif each.__class__ is list:
                if depth >= MAX_DEPTH:
                    into[at] = "(nested deeper)"
                    continue
                items: list[Any] = [None] * len(each)
                into[at] = items
                for index, inner in enumerate(each):
                    below = here.item(index) if here is not None else None
                    hidden = bool(below and below.matches)
                    stack.append((inner, items, index, hidden, below, depth + 1))
            elif each.__class__ is int and _CARD_BITS[0] <= each.bit_length() <= _CARD_BITS[1]:
                text = str(each)
                into[at] = each if self.text(text) == text else self.hashed(each)
            else:
                into[at] = each
        return root[0]


_SHORTEST: Final = 6  # no shape is shorter
_CARD_BITS: Final = (37, 64)  # of numbers with 12 to 19 digits


def showable(text: str) -> str:
    """The text without anything that steers a terminal or turns the direction of reading."""
    return _UNSHOWABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _steps(path: str) -> JsonPath | None:
    if not path.startswith("$"):
        return None
    try:
        return parse_path(path)
    except ValueError:
        return None


def _canonical(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    try:
        return json.dumps(value, sort_keys=True, default=str).encode()
    except (RecursionError, ValueError, TypeError):
        return repr(type(value)).encode()
