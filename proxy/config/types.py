"""The types of single values: a parser for validation and the JSON Schema that says the same.

Rules: a parser raises ValueError with the rest of a sentence that begins with the value. Types
that accept a list or null around a value are put together in `schema.py`.
"""

import ipaddress
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import core_schema

from comparators.paths import parse_path
from comparators.rules import compile_rename, parse_renamed, split_key
from proxy.config import units
from proxy.config.addresses import LEGAL as LISTEN_LEGAL
from proxy.config.addresses import Address, parse_address, parse_unix_path
from proxy.core.model import Phase, Sticky
from proxy.core.policy import LatencyRule

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
TOKEN_PATTERN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}"
MAX_TEXT = 4096

# A listing of methods, for hints only: any token is a legal method.
KNOWN_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")

# These frame or route a message; no key of a route may take them over.
RESERVED_HEADERS = frozenset(
    (
        *("host", "connection", "content-length", "transfer-encoding", "te", "trailer", "via"),
        *("upgrade", "keep-alive", "cookie", "expect", "proxy-connection", "authorization"),
    )
)

_NAME = re.compile(NAME_PATTERN)
_TOKEN = re.compile(TOKEN_PATTERN)
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]+\]")
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[^\]/?#@]*\]|[^:/?#@]*)(?P<rest>.*)")
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def anchored(pattern: str) -> str:
    return f"^(?:{pattern})$"


def text_schema(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": anchored(pattern)})


def as_text(value: object, what: str) -> str:
    """The value, if it is text."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise ValueError(f"is longer than {MAX_TEXT} characters")
        return value
    if value is None:
        raise ValueError(f"is empty; legal is {what}")
    if isinstance(value, dict) and len(value) == 1 and list(value.values()) == [None]:
        meant = f'"{{{next(iter(value))}}}"'
        raise ValueError(f"is not text (did you mean {meant}, in quotes?); legal is {what}")
    if isinstance(value, dict | list):
        raise ValueError(f"is not text; legal is {what} (text with {{ or [ needs quotes)")
    raise ValueError(f"is not text; legal is {what} (in quotes, if this is meant)")


def choice(*legal: str) -> Callable[[object], str]:
    """A parser for one of a few words."""
    listed = ", ".join(legal[:-1]) + f" or {legal[-1]}"

    def parse(value: object) -> str:
        if isinstance(value, str) and value in legal:
            return value
        near = get_close_matches(str(value)[:40], legal, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"is not legal{hint}; legal is {listed}")

    return parse


class Word:
    """Annotation: one of a few words."""

    def __init__(self, *legal: str) -> None:
        self.parse = choice(*legal)
        self.schema: dict[str, Any] = {"enum": list(legal)}

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return self.schema


class Whole:
    """Annotation: a whole number within bounds."""

    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self.high = high

    def parse(self, value: object) -> int:
        if type(value) is not int:
            raise ValueError(f"is not a whole number; legal is {self.low} to {self.high}")
        if not self.low <= value <= self.high:
            raise ValueError(f"is out of range; legal is {self.low} to {self.high}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


class Workers(Whole):
    """Annotation: a number of processes, or `auto` (0 here)."""

    def __init__(self) -> None:
        super().__init__(1, 256)

    def parse(self, value: object) -> int:
        if value == "auto":
            return 0
        try:
            return super().parse(value)
        except ValueError as error:
            raise ValueError(f"{error}, or auto") from None

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [super().__get_pydantic_json_schema__(schema, handler), {"const": "auto"}]}


def parse_flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("is not legal; legal is true or false (YAML 1.2: yes, no, on, off are text)")


def parse_name(value: object) -> str:
    what = "1 to 64 letters, digits, dots, - and _, the first a letter or digit"
    text = as_text(value, what)
    if not _NAME.fullmatch(text):
        raise ValueError(f"is not a name; legal is {what}")
    return text


def parse_token(value: object) -> str:
    text = as_text(value, "a name without spaces")
    if not _TOKEN.fullmatch(text):
        raise ValueError("is not a name that HTTP allows (letters, digits and !#$%&'*+-.^_`|~)")
    return text


def parse_header(value: object) -> str:
    name = parse_token(value)
    if name.lower() in RESERVED_HEADERS:
        raise ValueError("cannot be used: it has its own meaning in HTTP; choose another name")
    return name


def parse_method(value: object) -> str:
    name = as_text(value, "a method such as GET")
    if not _TOKEN.fullmatch(name):
        raise ValueError("is not a method; legal is one such as GET, HEAD or POST")
    if name not in KNOWN_METHODS and name.upper() in KNOWN_METHODS:
        raise ValueError(f"is not a method (did you mean {name.upper()}?); methods have case")
    if name == "CONNECT":
        raise ValueError("is never proxied; leave it out")
    return name


def parse_backend_url(value: object) -> str:
    """`http://host[:port]`, `https://host[:port]` or `unix:/path`, without anything after it."""
    legal = "http://host:port, https://host:port or unix:/path"
    text = as_text(value, legal)
    if text.startswith("unix:"):
        return "unix:" + parse_unix_path(text)
    found = _URL.fullmatch(text)
    if not found or found["scheme"] not in ("http", "https"):
        hint = (
            " (did you mean http://" + text[:80] + "?)" if re.match(r"[\w.-]+:\d+$", text) else ""
        )
        raise ValueError(f"is not a backend's address{hint}; legal is {legal}")
    if "@" in text:
        raise ValueError("holds credentials; send them as headers from the client instead")
    host, rest = found["host"], found["rest"]
    if not _valid_host(host):
        raise ValueError(f"has no valid host; legal is {legal}")
    port = re.fullmatch(r":([0-9]{1,5})(/?)|(/?)", rest)
    if not port:
        if re.fullmatch(r"(:[0-9]{1,5})?/.+", rest):
            raise ValueError("has a path; a backend is an address only, use rewrite for paths")
        raise ValueError(f"has no valid port; legal is {legal}")
    if port[1] is not None and not 1 <= int(port[1]) <= 65535:
        raise ValueError(f"has port {int(port[1])}; legal is 1 to 65535")
    return f"{found['scheme']}://{host.lower()}" + (f":{int(port[1])}" if port[1] else "")


def _valid_host(host: str) -> bool:
    if not _HOST.fullmatch(host):
        return False
    literal = host.strip("[]")
    if host.startswith("[") or re.fullmatch(r"[0-9.]+", host):
        try:
            return ipaddress.ip_address(literal).version == (6 if host.startswith("[") else 4)
        except ValueError:
            return False
    return True


def parse_web_url(value: object) -> str:
    """The address of a webhook or a collector."""
    text = as_text(value, "http://host/path or https://host/path")
    found = _URL.fullmatch(text)
    if (
        not found
        or found["scheme"] not in ("http", "https")
        or not _valid_host(found["host"])
        or not text.isascii()
        or not text.isprintable()
        or " " in text
    ):
        raise ValueError("is not a web address; legal is http://host/path or https://host/path")
    return text


def parse_network(value: object) -> str:
    text = as_text(value, "a network such as 10.0.0.0/8")
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is not a network; legal is one such as 10.0.0.0/8 or fd00::/8") from None
    raise ValueError(f"has bits set behind its prefix (did you mean {meant}?)")


def parse_listen(value: object) -> Address:
    if type(value) is int:
        meant = f"127.0.0.1:{value}"
        raise ValueError(f"has no host (did you mean {meant}?); legal is {LISTEN_LEGAL}")
    return parse_address(as_text(value, LISTEN_LEGAL))


REDIS_PATTERN = r"rediss?://[^\s/]+(/[0-9]{0,3})?(\?\S+)?|unix://[^\s/]*/\S+"


def parse_state(value: object) -> str:
    legal = "sqlite:PATH, redis://host:port/db or unix:///path/of/redis.sock?db=0"
    text = as_text(value, legal)
    if (text.startswith("sqlite:") and len(text) > 7 and "\0" not in text) or re.fullmatch(
        REDIS_PATTERN, text
    ):
        return text
    raise ValueError(f"is not a state store; legal is {legal}")


def parse_file(value: object) -> str:
    text = as_text(value, "the name of a file")
    if not text or "\0" in text:
        raise ValueError("is not the name of a file")
    return text


def parse_url_path(value: object) -> str:
    """A path as a health check asks for it, query allowed."""
    text = as_text(value, "a path such as /healthz")
    if not re.fullmatch(r"/[!-~]*", text) or "#" in text:
        raise ValueError("is not a path; legal is one such as /healthz")
    return text


def parse_rewrite(value: object) -> str:
    """The path on new; whether it fits the route's path is asked when that is known."""
    text = as_text(value, "a path such as /v2/users/{id}")
    if not text.startswith("/"):
        raise ValueError("is not a path; legal is one such as /v2/users/{id}")
    return text


def parse_sticky(value: object) -> Sticky:
    legal = 'client-ip, "cookie:NAME", "header:NAME" or "param:NAME"'
    text = as_text(value, legal)
    if text == "client-ip":
        return Sticky("client-ip")
    kind, colon, name = text.partition(":")
    if kind not in ("cookie", "header", "param") or not colon:
        near = get_close_matches(kind, ("client-ip", "cookie:", "header:", "param:"), n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"is not a sticky key{hint}; legal is {legal}")
    if not _TOKEN.fullmatch(name):
        token = name.strip()
        hint = f" (did you mean {kind}:{token}?)" if _TOKEN.fullmatch(token) else ""
        raise ValueError(f"names no {kind} after the colon{hint}; legal is {legal}")
    return Sticky(kind, name)


def _path_text(value: object, parse: Callable[[str], object], example: str) -> str:
    text = as_text(value, f'a JSONPath such as "{example}"')
    if not text.startswith("$"):
        raise ValueError(f'is not a JSONPath; legal is one such as "{example}"')
    parse(text)
    return text


def parse_json_path(value: object) -> str:
    """A JSONPath, by the grammar of the comparators."""
    return _path_text(value, parse_path, "$.items[*].etag")


def parse_renamed_path(value: object) -> str:
    """A side of a rename."""
    return _path_text(value, parse_renamed, "$.items[*].name")


def parse_array(value: object) -> str:
    """The JSONPath of an array, and the key of its items where it is told: `"$.items by sku"`."""
    return _path_text(value, lambda text: parse_path(split_key(text)[0]), "$.items by sku")


def check_renames(renames: dict[str, str]) -> dict[str, str]:
    """The pairs, if each of them can be followed."""
    for old, new in renames.items():
        try:
            compile_rename(old, new)
        except ValueError as error:
            raise ValueError(f"cannot be followed: {error}") from None
    return renames


def parse_place(value: object) -> str:
    """A JSONPath, `header:NAME` or `cookie:NAME`; only cookies' names have case."""
    legal = '"$.items[*].etag", "header:etag" or "cookie:theme"'
    text = as_text(value, legal)
    kind, colon, name = text.partition(":")
    if colon and kind in ("header", "cookie"):
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"names no {kind} after the colon; legal is {legal}")
        return f"{kind}:{name.lower() if kind == 'header' else name}"
    if not text.startswith("$"):
        raise ValueError(f"is not a place in an answer; legal is {legal}")
    return parse_json_path(text)


def parse_comparator(value: object) -> str:
    words = ("auto", "json", "text", "xml", "form", "binary")
    legal = ", ".join(words) + " or an import path package.module:name"
    text = as_text(value, legal)
    if text not in words and not _IMPORT_PATH.fullmatch(text):
        near = get_close_matches(text[:40], words, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"is not a comparator{hint}; legal is {legal}")
    return text


def parse_revert_target(value: object) -> Phase | None:
    """A phase, or None for `auto`."""
    return None if value == "auto" else units.parse_phase(value)


Size = Annotated[
    int,
    PlainValidator(units.parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": anchored(units.SIZE_PATTERN)},
                {"type": "integer", "minimum": 0},
            ]
        }
    ),
]
Time = Annotated[float, PlainValidator(units.parse_time), text_schema(units.TIME_PATTERN)]
PositiveTime = Annotated[
    float, PlainValidator(units.parse_positive_time), text_schema(units.TIME_PATTERN)
]
Share = Annotated[float, PlainValidator(units.parse_share), text_schema(units.SHARE_PATTERN)]
PhaseText = Annotated[Phase, PlainValidator(units.parse_phase), text_schema(units.PHASE_PATTERN)]
RevertTarget = Annotated[
    Phase | None,
    PlainValidator(parse_revert_target),
    text_schema(units.PHASE_PATTERN + "|auto"),
]
Latency = Annotated[
    LatencyRule, PlainValidator(units.parse_latency), text_schema(units.LATENCY_PATTERN)
]
Probability = Annotated[
    float,
    PlainValidator(units.parse_probability),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
]
Tolerance = Annotated[
    float,
    PlainValidator(units.parse_tolerance),
    WithJsonSchema({"type": "number", "minimum": 0}),
]
Flag = Annotated[bool, PlainValidator(parse_flag), WithJsonSchema({"type": "boolean"})]
Name = Annotated[str, PlainValidator(parse_name), text_schema(NAME_PATTERN)]
Token = Annotated[str, PlainValidator(parse_token), text_schema(TOKEN_PATTERN)]
Header = Annotated[str, PlainValidator(parse_header), text_schema(TOKEN_PATTERN)]
Method = Annotated[str, PlainValidator(parse_method), text_schema(TOKEN_PATTERN)]
BackendUrl = Annotated[
    str, PlainValidator(parse_backend_url), text_schema(r"https?://[^/?#@\s]+/?|unix:/.+")
]
WebUrl = Annotated[str, PlainValidator(parse_web_url), text_schema(r"https?://\S+")]
Network = Annotated[str, PlainValidator(parse_network), text_schema(r"[0-9A-Fa-f:.]+(/[0-9]+)?")]
Listen = Annotated[Address, PlainValidator(parse_listen), text_schema(r".*:[0-9]{1,5}|unix:/.+")]
StateUrl = Annotated[str, PlainValidator(parse_state), text_schema(f"sqlite:.+|{REDIS_PATTERN}")]
File = Annotated[str, PlainValidator(parse_file), text_schema(r".+")]
UrlPath = Annotated[str, PlainValidator(parse_url_path), text_schema(r"/[!-~]*")]
Rewrite = Annotated[str, PlainValidator(parse_rewrite), text_schema(r"/.*")]
StickyKey = Annotated[
    Sticky, PlainValidator(parse_sticky), text_schema(r"client-ip|(cookie|header|param):.+")
]
JsonPath = Annotated[str, PlainValidator(parse_json_path), text_schema(r"\$.*")]
RenamedPath = Annotated[str, PlainValidator(parse_renamed_path), text_schema(r"\$.+")]
Array = Annotated[str, PlainValidator(parse_array), text_schema(r"\$.*")]
Place = Annotated[str, PlainValidator(parse_place), text_schema(r"\$.*|(header|cookie):.+")]
Comparator = Annotated[
    str,
    PlainValidator(parse_comparator),
    text_schema(r"auto|json|text|xml|form|binary|[\w.]+:\w+"),
]
