"""The command `banyan` itself: what it lists, how it refuses, what it says of a bug."""

import os
import re
import subprocess
import sys

import pytest

from proxy.cli.main import COMMANDS


def banyan(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "proxy.cli.main", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_every_command_and_an_example() -> None:
    done = banyan("--help")
    assert done.returncode == 0
    assert all(f"  {name}" in done.stdout for name in COMMANDS)
    assert "banyan serve --config routes.yaml" in done.stdout


def test_the_version_says_how_the_data_plane_was_built() -> None:
    done = banyan("--version")
    assert done.returncode == 0
    pattern = r"banyan, version [0-9.]+ \((compiled data plane|data plane in pure Python)\)\n"
    assert re.fullmatch(pattern, done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_an_example(name: str) -> None:
    done = banyan(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"banyan {name}" in done.stdout.replace("Usage: banyan", "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sreve"], "There is no command 'sreve'; did you mean 'serve'?"),
        (["xyzzy"], "There is no command 'xyzzy'; there are serve, check"),
        (["serve", "--no-such"], "No such option"),
        (["serve", "--grace", "soon"], "--grace"),
        (["--no-such"], "No such option"),
    ],
)
def test_bad_usage_exits_with_2_and_says_what_is_right(words: list[str], says: str) -> None:
    done = banyan(*words)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_at_all_shows_the_help() -> None:
    assert "Commands:" in (done := banyan()).stdout + done.stderr


BUG = """
import sys, click
from proxy.cli import main

@click.command()
def command():
    raise RuntimeError("the\\nunforeseen")

sys.modules["broken"] = type(sys)("broken")
sys.modules["broken"].command = command
main.COMMANDS["broken"] = ("broken", "Breaks.")
sys.argv = ["banyan", "broken"]
main.main()
"""


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_bug_is_one_paragraph_unless_asked_for_more(debug: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUG],
        env={**os.environ, "BANYAN_DEBUG": debug},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) is bool(debug)
    if not debug:
        assert done.stderr.startswith("banyan: this should not have happened: RuntimeError: the ")
        assert done.stderr.count("\n") == 1


def test_asking_for_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "import proxy.cli.main\n"
        "print(sorted({'aiohttp', 'pydantic', 'yaml', 'rich', 'structlog'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
