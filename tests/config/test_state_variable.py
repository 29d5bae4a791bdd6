"""BANYAN_STATE names the state store in place of the file's `state`."""

from pathlib import Path

import pytest

from proxy.config import load

FILE = """
state: sqlite:in-the-file.db
backends: {legacy: "http://127.0.0.1:1", new: "http://127.0.0.1:2"}
routes: {"/a/*": legacy-only}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(FILE)
    return path


def test_without_it_the_file_decides(file: Path) -> None:
    config = load(file, {}).config
    assert config is not None
    assert config.state.sqlite_path == file.parent / "in-the-file.db"


@pytest.mark.parametrize("path", ["elsewhere.db", "/var/lib/banyan/state.db"])
def test_it_stands_in_place_of_the_file(file: Path, path: str) -> None:
    config = load(file, {"BANYAN_STATE": f"sqlite:{path}"}).config
    assert config is not None
    assert config.state.sqlite_path == file.parent / path


@pytest.mark.parametrize("value", ["", "state.db", "postgres://host/db"])
def test_what_is_no_state_store_is_refused(file: Path, value: str) -> None:
    loaded = load(file, {"BANYAN_STATE": value})
    assert loaded.config is None
    (finding,) = loaded.findings
    assert finding.code == "ENVIRONMENT"
    assert "BANYAN_STATE" in finding.text
    assert "sqlite:PATH" in finding.text
