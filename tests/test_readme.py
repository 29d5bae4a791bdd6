"""README and CHANGELOG say what is so: links, tables, and every command, run as it stands."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from proxy.config import load
from proxy.core.model import Phase, Route, RouteState, Side
from proxy.core.paths import canonical_path
from proxy.core.planning import plan_read, plan_write
from tests.demo.running import running, with_ports, write_config
from tests.harness.ports import free_ports
from tests.harness.programs import needed

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
WALK_WITHIN_S = 100


class Block(NamedTuple):
    """A fenced block: its language and its text."""

    language: str
    text: str


BLOCKS = [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)]
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.M | re.S)
COMMANDS = sorted(
    {
        line.removeprefix("$ ").split("#")[0].strip()
        for block in BLOCKS
        if block.language == "console"
        for line in block.text.splitlines()
        if line.startswith("$ ")
    }
)


def section(title: str) -> str:
    """The text below a heading, up to the next heading."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", README, re.M | re.S)
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in the text, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for at, row in enumerate(cells) if at >= 2 and set(row[0]) != {"-", " "}]


def anchor(heading: str) -> str:
    """The anchor that is made of a heading."""
    text = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])
def test_each_link_leads_somewhere(name: str) -> None:
    for text, target in re.findall(r"\[([^]]+)\]\(([^)]+)\)", (ROOT / name).read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, fragment = target.partition("#")
        file = ROOT / path if path else ROOT / name
        assert file.exists(), f"[{text}]({target})"
        if fragment:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
            assert fragment in map(anchor, headings), f"[{text}]({target})"


def test_each_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"`((?:proxy|tests|demo|docs|schema)/[\w./]*|\.ci/\w+)`", PROSE))
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_console_command_exists(command: str) -> None:
    words = command.split()
    if words[0] == "make":
        # -n says what would be run, and fails where there is no such target.
        done = subprocess.run(
            ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, check=False
        )
        assert done.returncode == 0
    else:
        assert os.access(ROOT / words[0], os.X_OK)


def banyan_commands() -> list[str]:
    shells = "\n".join(block.text for block in BLOCKS if block.language in ("sh", "console"))
    named = re.findall(r"\bbanyan ([a-z]+)", shells) + re.findall(r"`banyan ([a-z]+)", PROSE)
    return sorted(set(named))


@pytest.mark.parametrize("name", banyan_commands())
def test_each_banyan_command_has_its_help(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy.cli.main", name, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Example" in done.stdout


def test_every_command_is_in_the_table() -> None:
    from proxy.cli import main

    told = {row[0].split()[1] for row in rows(section("Configuration"))}
    assert {name.strip("`") for name in told} == set(main.COMMANDS)


def test_the_walk_runs_as_it_stands(tmp_path: Path) -> None:
    """Every `sh` block, one after the other in one shell, beside a demo on other ports."""
    needed("curl", "curl", "the walk in the README")
    ports = free_ports(4)
    write_config(tmp_path, ports)
    text = "\n".join(block.text for block in BLOCKS if block.language == "sh")
    assert text.count("sed -i") >= 6
    script = "set -euo pipefail\n" + with_ports(text, ports)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with running(tmp_path) as demo:
        demo.wait_for("api-products")
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WALK_WITHIN_S,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{demo.output()}"
        said = demo.output()
        assert demo.end() == 0
    for phase in ("shadow-read", "25%", "dual-write", "new-only", "legacy-only"):
        assert re.search(rf"/api/legacy/\* from \S+ to {phase}$", said, re.M), said
    assert "is refused, the table before it stays in force." in said
    shares = dict(re.findall(r"^ +(\d+) Shop: (legacy|new)", done.stdout, re.M))
    assert len(shares) == 2, done.stdout


@pytest.mark.parametrize("number", [n for n, b in enumerate(BLOCKS) if b.language == "yaml"])
def test_each_configuration_is_without_a_finding(tmp_path: Path, number: int) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(BLOCKS[number].text)
    loaded = load(file, {})
    assert loaded.findings == ()
    assert loaded.config is not None


PHASES = {
    "`legacy-only`": [-2],
    "`shadow-read`": [-1],
    "`0%` (also `dual-write` with `serve: legacy`)": [0],
    "`N%`, 1 to 99": [1, 50, 99],
    "`100%` = `dual-write`": [100],
    "`new-only`": [101],
}


def test_the_table_of_phases_is_that_of_the_plans() -> None:
    route = Route(name="r", pattern="/r", methods=(), host=None, path="/r", phase=Phase(0))
    told = {row[0]: row[1:] for row in rows(section("The phases"))}
    assert set(told) == set(PHASES)
    for title, steps in PHASES.items():
        answered, also_sent, written = told[title]
        for progress in steps:
            state = RouteState.of_phase(Phase(progress))
            weighted = 0 < progress < 100
            for to_new in (False, True) if weighted else (False,):
                read = plan_read(route, state, to_new)
                assert answered.startswith("new for N %" if weighted else read.answer.value)
                assert read.answer is (Side.NEW if to_new else read.answer)
                shadow = read.shadow.value if read.shadow else "nobody"
                assert also_sent.startswith("the other side" if weighted else shadow)
                write = plan_write(route, state, to_new)
                second = f", then {write.second.value}" if write.second else ""
                assert written == write.answer.value + second


def test_the_path_policy_is_that_of_the_code() -> None:
    def words(text: str) -> str:
        return " ".join(text.split())

    documented = (canonical_path.__doc__ or "").partition("1. ")
    policy = documented[2].partition("The query is")[0]
    assert words("1. " + policy) in words(section("The path"))


def test_each_metric_that_is_named_is_exported() -> None:
    source = "".join(path.read_text() for path in (ROOT / "proxy/observe").glob("*.py"))
    named = set(re.findall(r"\bbanyan_[a-z_]+", section("Metrics")))
    assert len(named) > 5
    assert {name for name in named if f'"{name}"' not in source} == set()


def test_each_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=]", text)[0].lower() for text in wanted}
    told = {
        name.strip().lower()
        for row in rows(section("Why each dependency is there"))
        for name in row[0].split(",")
    }
    # Type stubs and pytest itself go without saying.
    assert {name for name in names if not name.startswith("types-")} - {"pytest"} == told


def test_the_changelog_has_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()
