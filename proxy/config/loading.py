"""From a file (or its bytes) to a Config, or to findings that say why not.

Order: read, parse YAML, check values one by one, then how they fit together, then what is unwise.
A stage that fails ends the work, but reports all it found. Bad input never raises.
"""

import dataclasses
import gc
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from proxy.config import resolve
from proxy.config.assemble import assemble
from proxy.config.document import Document, MalformedError
from proxy.config.findings import Finding, Position, bounded, finding
from proxy.config.inactive import inactive_keys
from proxy.config.lint_comparators import lint_comparators
from proxy.config.lint_routes import lint_file
from proxy.config.places import Places
from proxy.config.refusals import refusals
from proxy.config.schema import FileModel
from proxy.config.settings import Config, Loaded
from proxy.config.source import UnreadableError, decode_source, read_source
from proxy.config.types import parse_state

# One file in a repository or an image, its state elsewhere: this names it in place of `state`.
STATE_VARIABLE = "BANYAN_STATE"


def load(path: Path, env: Mapping[str, str]) -> Loaded:
    """Read and check the file. Findings name it as `path` does. Never raises for bad input."""
    try:
        data = read_source(path)
    except UnreadableError as error:
        return _refused([finding("UNREADABLE", str(path), Position(), "", str(error))])
    return load_bytes(data, path, env)


def load_bytes(data: bytes, path: Path, env: Mapping[str, str]) -> Loaded:
    """Check bytes that were read from `path` already."""
    with _collection_paused():
        return _loaded(data, path, env)


def _loaded(data: bytes, path: Path, env: Mapping[str, str]) -> Loaded:
    file = str(path)
    try:
        text = decode_source(data)
        document = Document(text, env)
    except UnreadableError as error:
        return _refused([finding("UNREADABLE", file, Position(), "", str(error))])
    except MalformedError as error:
        return _refused([finding(error.code, file, error.position, "", error.text)])
    places = Places(file, document)
    findings = [
        finding(p.code, file, p.position, key_path, f"{key_path}: {p.text}" if key_path else p.text)
        for p in document.problems
        for key_path in (places.path(p.loc),)
    ]
    value = document.value
    try:
        model = FileModel.model_validate(value)
    except ValidationError as error:
        # A value with a variable that is not set is wrong already; not for its form as well.
        told = {(each.line, each.column) for each in findings}
        more = refusals(error, value, places)
        return _refused([*findings, *(f for f in more if (f.line, f.column) not in told)])
    if findings:
        return _refused(findings)
    config, findings = assemble(model, places, path.absolute(), _digest(data, document))
    if config is None:
        return _refused(findings)
    if STATE_VARIABLE in env:
        try:
            state = resolve.state_of(parse_state(env[STATE_VARIABLE]), config.file.parent)
        except ValueError as problem:
            text = f"the environment variable {STATE_VARIABLE} {problem}"
            return _refused([*findings, finding("ENVIRONMENT", file, Position(), "state", text)])
        config = dataclasses.replace(config, state=state)
    findings.extend(_warnings(config, cast("dict[str, Any]", value), places))
    failed = any(each.severity == "error" for each in findings)
    return Loaded(None if failed else config, bounded(findings))


def _warnings(config: Config, value: dict[str, Any], places: Places) -> Iterator[Finding]:
    yield from inactive_keys(value, places)
    yield from lint_file(config, value, places)
    yield from lint_comparators(config, places)


@contextmanager
def _collection_paused() -> Iterator[None]:
    """No cyclic garbage collection meanwhile: it doubles the time for a large file, as hundreds of
    thousands of values come into being that all stay. The input's bounds bound what is put off.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _refused(findings: list[Finding]) -> Loaded:
    return Loaded(None, bounded(findings))


def _digest(data: bytes, document: Document) -> str:
    whole = hashlib.blake2b(data, digest_size=16)
    for name, text in sorted(document.taken.items()):
        whole.update(f"\0{name}\0{text}".encode(errors="surrogateescape"))
    return whole.hexdigest()
