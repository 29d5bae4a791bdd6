"""Comparators of the user's own: those that cannot be there are told, and none is imported."""

from pathlib import Path

import pytest

from proxy.config import Finding, load
from tests.config.samples import BACKENDS

SIDE_EFFECT = "open(__file__ + '.imported', 'w').close()\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SIDE_EFFECT + "def compare(legacy, new, rules): ...\n")
    (tmp_path / "borrowing.py").write_text(SIDE_EFFECT + "from mine import *\n")
    (tmp_path / "latin.py").write_bytes(b"# \xff\n")
    package = tmp_path / "pack" / "inner"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text(SIDE_EFFECT)
    (package / "__init__.py").write_text(SIDE_EFFECT + "from .prices import compare_prices\n")
    (package / "prices.py").write_text(SIDE_EFFECT + "compare_prices = None\n")
    return tmp_path


def found(folder: Path, named: str) -> list[Finding]:
    file = folder / "routes.yaml"
    file.write_text(
        f"{BACKENDS}routes:\n  /a: {{phase: shadow-read, compare: {{with: '{named}'}}}}\n"
    )
    return list(load(file, {}).findings)


@pytest.mark.parametrize(
    "named",
    [
        "mine:compare",
        "borrowing:compare",
        "latin:compare",
        "pack.inner:compare_prices",
        "pack.inner.prices:compare_prices",
        "json:loads",
        "sys:exit",
        "email.mime.text:MIMEText",
        "_csv:reader",
    ],
)
def test_one_that_may_be_there_is_not_told(folder: Path, named: str) -> None:
    assert found(folder, named) == []
    assert not list(folder.rglob("*.imported"))


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("nomod:nothere", "there is no module nomod,"),
        ("mine:nothere", "mine has no nothere,"),
        ("mine.sub:compare", "mine is no package,"),
        ("pack.nothere:compare", "there is no module pack.nothere,"),
        ("pack.inner.prices:nothere", "pack.inner.prices has no nothere,"),
        ("sys.sub:compare", "sys is no package,"),
    ],
)
def test_one_that_cannot_be_imported_is_told(folder: Path, named: str, why: str) -> None:
    [told] = found(folder, named)
    assert (told.code, told.severity) == ("NO_COMPARATOR", "warning")
    assert told.key_path == "routes./a.compare.with"
    assert why in told.text
    assert not list(folder.rglob("*.imported"))


def test_one_that_many_routes_inherit_is_told_where_it_stands(folder: Path) -> None:
    file = folder / "routes.yaml"
    file.write_text(
        f"{BACKENDS}defaults: {{compare: {{with: 'nomod:x'}}}}\n"
        "routes:\n  /a: shadow-read\n  /b: shadow-read\n  /c: {phase: 0%, compare: null}\n"
    )
    [told] = load(file, {}).findings
    assert (told.code, told.key_path) == ("NO_COMPARATOR", "defaults.compare.with")
