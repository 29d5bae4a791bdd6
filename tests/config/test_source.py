"""Files that give no text: one clear paragraph each, and nothing waits or is read for nothing."""

import os
from pathlib import Path

import pytest

from proxy.config import load
from proxy.config.source import MAX_FILE_BYTES


def refusal(path: Path) -> str:
    outcome = load(path, {})
    assert outcome.config is None
    [found] = outcome.findings
    assert (found.code, found.severity) == ("UNREADABLE", "error")
    assert str(found).startswith(f"{path}:1:1: error UNREADABLE: ")
    assert "\n" not in str(found)
    return found.text


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "routes.yaml")


def test_a_directory(tmp_path: Path) -> None:
    assert "directory" in refusal(tmp_path)


def test_a_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be opened" in refusal(tmp_path / "file" / "routes.yaml")


def test_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").symlink_to(tmp_path / "gone")
    assert "no such file" in refusal(tmp_path / "routes.yaml")


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").symlink_to(tmp_path / "routes.yaml")
    assert "cannot be opened" in refusal(tmp_path / "routes.yaml")


def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "routes.yaml")
    assert "not a regular file" in refusal(tmp_path / "routes.yaml")


def test_a_name_that_can_be_no_file() -> None:
    assert load(Path("a\0b"), {}).config is None


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """Root may read everything, so as root the file is one that nobody can open."""
    if os.geteuid() == 0:
        assert "cannot be" in refusal(Path("/proc/self/mem"))
        return
    (tmp_path / "routes.yaml").touch(mode=0)
    assert "cannot be opened" in refusal(tmp_path / "routes.yaml")


@pytest.mark.parametrize("text", ["", "\n\n", "  \n", "\ufeff"])
def test_an_empty_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "routes.yaml").write_text(text)
    assert "is empty" in refusal(tmp_path / "routes.yaml")


@pytest.mark.parametrize("text", ["# nothing\n", "---\n"])
def test_a_file_of_comments(tmp_path: Path, text: str) -> None:
    (tmp_path / "routes.yaml").write_text(text)
    outcome = load(tmp_path / "routes.yaml", {})
    assert outcome.config is None
    assert len(outcome.findings) == 1


def test_a_file_of_ten_megabytes_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_bytes(b"[" * 10_000_000)
    text = refusal(path)
    assert "10,000,000 bytes" in text
    assert f"{MAX_FILE_BYTES:,}" in text


def test_text_that_is_not_utf_8_says_where(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_bytes("a: b\nc: caf\u00e9\n".encode("latin-1"))
    assert "byte 11 (0xe9, line 2)" in refusal(tmp_path / "routes.yaml")


def test_utf_16_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_bytes("a: b\n".encode("utf-16"))
    assert "not UTF-8" in refusal(tmp_path / "routes.yaml")


def test_a_file_name_cannot_break_the_line(tmp_path: Path) -> None:
    outcome = load(tmp_path / "a\nb\x1b[31m.yaml", {})
    assert "\n" not in str(outcome.findings[0])
    assert "\x1b" not in str(outcome.findings[0])
