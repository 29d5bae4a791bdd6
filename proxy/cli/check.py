"""`banyan check`: everything that is wrong or unwise in a configuration, a line each."""

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from proxy.cli.options import admin_option, config_option

STANDARD_INPUT = Path("-")

EXAMPLES = """
Examples:

\b
  banyan check
  banyan check new-routes.yaml --json
  helm template . | yq .data.routes | banyan check -
  banyan check --admin http://127.0.0.1:9090     also what the edit would skip or lose
  banyan check --schema > routes.schema.json     for editors
"""


@click.command("check", epilog=EXAMPLES)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the file and exit.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option(
    "--warnings-ok", is_flag=True, help="Exit 0 when there are warnings only, as a reload would."
)
@admin_option("Compare with the phases in force there as well: http://HOST:PORT or unix:/PATH.")
@config_option("The configuration, if FILE is not given.")
def command(
    file: Path | None,
    schema: bool,
    as_json: bool,
    warnings_ok: bool,
    admin: str | None,
    config_path: Path,
) -> None:
    """Validate and lint a configuration without serving it.

    FILE may be - for standard input. Prints FILE:LINE:COL: error|warning CODE: text. An error
    would refuse the file, a warning would not. Exits 0 if there is nothing to say, 1 if there are
    findings.
    """
    # Here, since reading the schema takes longer than a usage error should.
    from proxy.config import load, load_bytes
    from proxy.config.jsonschema import json_schema_text

    if schema:
        click.echo(json_schema_text(), nl=False)
        return
    path = file or config_path
    if path == STANDARD_INPUT:
        from proxy.config.source import MAX_FILE_BYTES

        # One byte more than is legal, never all of it.
        data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        loaded = load_bytes(data, path, os.environ)
    else:
        loaded = load(path, os.environ)
    findings = list(loaded.findings)
    config = loaded.config
    if config is not None and admin is not None:
        from proxy.config import lint

        findings += lint(config, *_in_force(admin, path))
    errors = sum(each.severity == "error" for each in findings)
    routes = None if config is None else len(config.routes) - 1
    if as_json:
        said = {
            "file": str(path),
            "ok": config is not None,
            "routes": routes,
            "findings": [asdict(each) for each in findings],
        }
        click.echo(json.dumps(said, indent=2, ensure_ascii=False))
    else:
        for each in findings:
            click.echo(str(each))
        click.echo(_summary(path, errors, len(findings) - errors, routes), err=bool(findings))
    if errors or (findings and not warnings_ok):
        raise SystemExit(1)


def _summary(path: Path, errors: int, warnings: int, routes: int | None) -> str:
    name = "Standard input" if path == STANDARD_INPUT else click.format_filename(path)
    if errors:
        return f"{name} would be refused: {_count(errors, 'error')}, {_count(warnings, 'warning')}."
    rest = f"{_count(warnings, 'warning')}." if warnings else "nothing to object."
    return f"{name} is valid: {_count(routes or 0, 'route')}, {rest}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _in_force(admin: str, path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Effective phases, missed writes and latches by route name, from a running Banyan."""
    from proxy.cli.adminclient import AdminClient, AdminError, admin_address
    from proxy.config.units import parse_phase
    from proxy.core.model import Side

    try:
        answer = asyncio.run(AdminClient(admin_address(admin, path)).get("/api/v1/routes"))
    except AdminError as error:
        raise click.ClickException(str(error)) from None
    routes = answer["routes"]
    return (
        {each["name"]: parse_phase(each["effective_phase"]) for each in routes},
        {each["name"]: frozenset(map(Side, each["missed"])) for each in routes},
        {
            each["name"]: (parse_phase(each["revert"]["from"]), parse_phase(each["declared_phase"]))
            for each in routes
            if each["revert"]
        },
    )
