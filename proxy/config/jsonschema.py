"""The JSON Schema of `routes.yaml` for editors, made from the models.

It says what single values may be; what fits together only `banyan check` knows. Where the file
may have `${NAME}` instead of a value, the schema allows it too.
"""

import json
from typing import Any

from proxy.config.schema import FileModel
from proxy.config.types import NAME_PATTERN, anchored
from proxy.config.units import PHASE_PATTERN, TIME_PATTERN

TITLE = "Banyan: routes.yaml"
_VARIABLE = "EnvironmentVariable"


def json_schema() -> dict[str, Any]:
    """The schema as JSON values."""
    schema: dict[str, Any] = FileModel.model_json_schema(by_alias=True, mode="validation")
    properties = schema["properties"]
    properties["backends"]["propertyNames"] = {"pattern": anchored(NAME_PATTERN)}
    properties["routes"]["propertyNames"] = {"pattern": "/|\\$\\{"}
    steps = schema["$defs"]["AdvanceModel"]["properties"]["steps"]["items"]["anyOf"]
    steps[1] |= {
        "propertyNames": {"pattern": anchored(PHASE_PATTERN)},
        "additionalProperties": {"type": "string", "pattern": anchored(TIME_PATTERN)},
        "minProperties": 1,
        "maxProperties": 1,
    }
    schema = _with_variables(schema)
    schema["$defs"][_VARIABLE] = {
        "type": "string",
        "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}",
        "description": "text with ${NAME}, filled in from the environment",
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": TITLE}
    return head | {key: value for key, value in schema.items() if key != "title"}


def json_schema_text() -> str:
    """The schema as shipped: the same text for the same models."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _with_variables(node: Any) -> Any:
    """Every constrained scalar also as `${NAME}`, and no titles, which only repeat the keys."""
    if isinstance(node, list):
        return [_with_variables(each) for each in node]
    if not isinstance(node, dict):
        return node
    if _is_scalar(node):
        told = {key: node[key] for key in ("description", "default") if key in node}
        bare = {k: v for k, v in node.items() if k not in ("title", *told)}
        return {"anyOf": [bare, {"$ref": f"#/$defs/{_VARIABLE}"}]} | told
    return {
        key: (
            {name: _with_variables(each) for name, each in value.items()}
            if key in ("properties", "$defs")
            else value
            if key in ("propertyNames", "default")
            else _with_variables(value)
        )
        for key, value in node.items()
        if key != "title"
    }


def _is_scalar(node: dict[str, Any]) -> bool:
    kind = node.get("type")
    return (
        kind in ("integer", "number", "boolean")
        or (kind == "string" and "pattern" in node)
        or "enum" in node
        or "const" in node
    )
