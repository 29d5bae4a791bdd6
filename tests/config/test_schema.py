"""The JSON Schema for editors: shipped as generated, true to the contract and to the core."""

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from proxy.config.document import Document
from proxy.config.jsonschema import json_schema, json_schema_text
from tests.config.samples import EXAMPLES, config_of, with_routes

SHIPPED = Path(__file__).parents[2] / "schema" / "routes.schema.json"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_shipped_schema_is_current() -> None:
    """If not: `banyan check --schema > schema/routes.schema.json`."""
    assert SHIPPED.read_text() == json_schema_text()


@pytest.mark.parametrize("name", ["short", "long"])
def test_the_examples_of_the_contract_are_valid(
    validator: jsonschema.Draft202012Validator, name: str
) -> None:
    value = Document((EXAMPLES / f"{name}.yaml").read_text(), {}).value
    assert [error.message for error in validator.iter_errors(value)] == []


@pytest.mark.parametrize(
    "text",
    [
        "workers: auto",
        "workers: ${N}",
        "listen: ${HOST}:80",
        "defaults: {fallback: '${F}', write_body: 1024, shadow: {sample: '${S}'}}",
        "defaults: {advance: {steps: [{shadow-read: 24h}, 0%]}, compare: null}",
    ],
)
def test_what_is_legal_passes(validator: jsonschema.Draft202012Validator, text: str) -> None:
    value = Document(with_routes("/x: 1%", text), {}).value | {}
    raw = Document(with_routes("/x: 1%", text.replace("${", "$${")), {}).value
    assert [error.message for error in validator.iter_errors(raw)] == []
    assert value


@pytest.mark.parametrize(
    "text",
    [
        "wrokers: 2",
        "workers: 0",
        "limits: {header_bytes: 64kb}",
        "limits: {client_idle: 60}",
        "telemetry: {sample: 0.1}",
        "defaults: {ack: maybe}",
        "defaults: {override: {header: x}}",
        "defaults: {advance: {steps: [{soon: 1h}]}}",
        "trusted_proxies: [lan]",
    ],
)
def test_what_is_wrong_does_not(validator: jsonschema.Draft202012Validator, text: str) -> None:
    value = Document(with_routes("/x: 1%", text), {}).value
    assert not validator.is_valid(value)


def test_the_defaults_shown_are_the_defaults() -> None:
    """Everything the schema shows as default, written into a file, changes nothing."""
    schema = json_schema()
    written = _shown_defaults(schema, schema)
    written["defaults"] |= {"advance": None}
    for name in ("backends", "routes"):
        written.pop(name, None)
    lines = "\n".join(f"{name}: {json.dumps(value)}" for name, value in written.items())
    explicit = config_of(with_routes("/x: 1%", lines))
    implicit = config_of(with_routes("/x: 1%"))
    for name in implicit.__dataclass_fields__:
        if name not in ("text_digest", "phase_positions"):
            assert getattr(explicit, name) == getattr(implicit, name), name


def test_the_defaults_shown_for_a_backend_are_the_defaults() -> None:
    schema = json_schema()
    shown = _shown_defaults(schema["$defs"]["BackendModel"], schema)
    written = json.dumps(shown | {"url": "http://h:1"})
    config = config_of(f"backends: {{legacy: {written}, new: http://h:1}}\nroutes: {{}}")
    plain = config_of("backends: {legacy: http://h:1, new: http://h:1}\nroutes: {}")
    assert config.backends == plain.backends


def test_every_key_says_what_it_means() -> None:
    schema = json_schema()
    for model in (schema, *schema["$defs"].values()):
        for name, node in model.get("properties", {}).items():
            assert node.get("description"), name


def _shown_defaults(model: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Key by key, sections included."""
    shown: dict[str, Any] = {}
    for name, node in model["properties"].items():
        if "default" not in node:
            continue
        shown[name] = node["default"]
        if shown[name] == {}:
            for each in (node, *node.get("anyOf", ())):
                if "$ref" in each and not each["$ref"].endswith("EnvironmentVariable"):
                    section = schema["$defs"][each["$ref"].rpartition("/")[2]]
                    shown[name] = _shown_defaults(section, schema)
    return shown
