"""docs/configuration.md names every key with its default and every finding with its severity."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.config.document import Document
from proxy.config.findings import CODES
from proxy.config.inactive import NOT_ACTIVE
from proxy.config.jsonschema import json_schema

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()

# Heading of the page: model of the schema, key path above.
SECTIONS = {
    "Top level": ("", ()),
    "admin": ("AdminModel", ("admin",)),
    "tls": ("ServerTlsModel", ("tls",)),
    "limits": ("LimitsModel", ("limits",)),
    "telemetry": ("TelemetryModel", ("telemetry",)),
    "alerts": ("AlertModel", ("alerts",)),
    "backends": ("BackendModel", ("backends",)),
    "backends.NAME.health": ("HealthModel", ("backends", "health")),
    "backends.NAME.tls": ("BackendTlsModel", ("backends", "tls")),
    "defaults": ("DefaultsModel", ("defaults",)),
    "override": ("OverrideModel", ("defaults", "override")),
    "shadow": ("ShadowModel", ("defaults", "shadow")),
    "compare": ("CompareModel", ("defaults", "compare")),
    "revert": ("RevertModel", ("defaults", "revert")),
    "advance": ("AdvanceModel", ("defaults", "advance")),
}


def rows(heading: str) -> dict[str, list[str]]:
    """The first table under a heading: first cell without backticks, the other cells."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", TEXT, re.M | re.S)
    assert found, f"no heading {heading}"
    cells = [
        [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        for line in found[1].splitlines()
        if line.startswith("| `")
    ]
    return {line[0].strip("` "): line[1:] for line in cells}


def keys() -> Iterator[tuple[str, str, dict[str, Any], tuple[str, ...]]]:
    schema = json_schema()
    for heading, (model, above) in SECTIONS.items():
        properties = (schema["$defs"][model] if model else schema)["properties"]
        for name, node in properties.items():
            yield heading, name, node, (*above, name)


@pytest.mark.parametrize(
    ("heading", "name", "node", "path"), list(keys()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_key_has_a_row_with_its_default(
    heading: str, name: str, node: dict[str, Any], path: tuple[str, ...]
) -> None:
    row = rows(heading)[name]
    assert len(row) == 4
    _, default, meaning, active = row
    if "default" not in node or path == ("defaults", "advance", "steps"):
        assert default.startswith("required")
    elif node["default"] == {} and not default:
        pass  # a section: its own table has the defaults
    else:
        assert Document(default.strip("`"), {}).value == node["default"]
    assert meaning
    later = any(path[: len(row)] == row or row[: len(path)] == path for row in NOT_ACTIVE)
    whole = not any(row[: len(path)] == path and row != path for row in NOT_ACTIVE)
    assert active == ("later" if later and (whole or name == "revert") else "yes")


def test_there_are_no_rows_of_keys_that_do_not_exist() -> None:
    known: dict[str, set[str]] = {}
    for heading, name, _, _ in keys():
        known.setdefault(heading, set()).add(name)
    assert {heading: set(rows(heading)) for heading in known} == known
    routes = set(json_schema()["$defs"]["RouteModel"]["properties"])
    assert set(rows("routes")) == routes - known["defaults"]


def test_every_finding_has_a_row_with_its_severity_and_a_way_out() -> None:
    listed = rows("Errors") | rows("Warnings")
    assert set(listed) == set(CODES)
    for code, (severity, means, way_out) in ((c, row) for c, row in listed.items()):
        assert severity == CODES[code][0]
        assert means
        assert way_out


def test_the_example_of_the_page_is_the_short_form_of_the_contract() -> None:
    example = re.search(r"```yaml\n(.*?)```", TEXT, re.S)
    assert example
    short = Path(__file__).parent / "examples" / "short.yaml"
    assert example[1].strip() == short.read_text().strip()
    assert json.dumps(Document(example[1], {}).value)
