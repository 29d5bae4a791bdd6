"""From pydantic's errors, and keys of routes that are none, to findings in our words."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from proxy.config.findings import Finding
from proxy.config.places import Places
from proxy.config.routekey import parse_route_key
from proxy.config.schema import FileModel

# A key and its value that YAML takes for one text.
_NO_SPACE = re.compile(r"[^\s:]+:[^\s:/].*", re.DOTALL)

# pydantic's word for what a value should have been.
_SHAPES = {
    "model_type": "is not a mapping; legal are the keys {keys}",
    "model_attributes_type": "is not a mapping; legal are the keys {keys}",
    "dict_type": "is not a mapping",
    "list_type": "is not a list; legal is [a, b] or lines that begin with -",
}


def refusals(error: ValidationError, value: Any, places: Places) -> Iterator[Finding]:
    """A finding for each error, and for each route key that would be refused next."""
    if not isinstance(value, dict):
        yield places.finding(
            "BAD_VALUE",
            (),
            "the file is not a mapping; it needs at least the keys backends and routes",
        )
        return
    for each in error.errors(include_url=False, include_input=True):
        yield _refusal(dict(each), places)
    routes = value.get("routes")
    for key in routes if isinstance(routes, dict) else ():
        try:
            parse_route_key(key)
        except ValueError as problem:
            yield places.finding("BAD_ROUTE_KEY", ("routes", key), f"{problem}", of_key=True)


def _refusal(error: dict[str, Any], places: Places) -> Finding:
    kind: str = error["type"]
    of_key = error["loc"][-1:] == ("[key]",)
    loc = tuple(part for part in error["loc"] if part != "[key]")
    if kind == "extra_forbidden":
        return places.finding("UNKNOWN_KEY", loc, _unknown(loc), of_key=True)
    if kind == "missing":
        text = f"the key {loc[-1]} is missing; {_meaning(loc)}"
        return places.finding("MISSING_KEY", loc[:-1], text, of_key=True)
    context = error.get("ctx", {})
    if kind == "value_error":
        text = str(context["error"])
    elif kind in _SHAPES:
        text = _SHAPES[kind].format(keys=", ".join(legal_keys(loc)))
        if error["input"] is None:
            text = "is empty; give it a value or leave the key out"
        elif isinstance(error["input"], str) and _NO_SPACE.fullmatch(error["input"]):
            text += "; a space is missing behind its colon"
    elif kind == "too_short":
        text = f"is empty; it needs at least {context['min_length']}"
    elif kind == "too_long":
        text = f"has more than {context['max_length']} entries"
    else:
        text = f"is not legal ({error['msg']})"
    shown = f'"{str(loc[-1])[:60]}"' if of_key else places.shown(loc, error["input"])
    return places.finding("BAD_VALUE", loc, f"{shown} {text}", of_key=of_key)


def _unknown(loc: Sequence[str | int]) -> str:
    legal = legal_keys(loc[:-1])
    given = str(loc[-1])[:60]
    near = get_close_matches(given, legal, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    name, _, value = given.partition(":")
    if value and name in legal:
        hint = f" (a space is missing behind {name}:)"
    return f"there is no such key{hint}; legal are {', '.join(legal)}"


def _meaning(loc: Sequence[str | int]) -> str:
    model = _model_at(loc[:-1])
    for name, field in model.model_fields.items() if model else ():
        if (field.alias or name) == loc[-1]:
            return f"it says: {field.description}"
    return "it is needed"


def legal_keys(loc: Sequence[str | int]) -> list[str]:
    """The keys of the mapping at `loc`, if they are fixed."""
    model = _model_at(loc)
    return [f.alias or name for name, f in model.model_fields.items()] if model else []


def _model_at(loc: Sequence[str | int]) -> type[BaseModel] | None:
    kind: Any = FileModel
    for part in loc:
        model = _model_in(kind)
        if model is not None:
            fields = {f.alias or name: f.annotation for name, f in model.model_fields.items()}
            kind = fields.get(str(part))
        else:
            kind = _item_of(kind)
    return _model_in(kind)


def _model_in(kind: Any) -> type[BaseModel] | None:
    """The model that an annotation is about, None for lists, dicts and single values."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    if get_origin(kind) in (list, dict):
        return None
    for each in get_args(kind):
        if (found := _model_in(each)) is not None:
            return found
    return None


def _item_of(kind: Any) -> Any:
    """What a list or dict annotation holds."""
    if get_origin(kind) in (list, dict):
        return get_args(kind)[-1]
    items = (_item_of(each) for each in get_args(kind))
    found = [each for each in items if each is not None]
    return found[0] if found else None
