"""Set-up as a fresh machine meets it: the Makefile, the pins, and what they leave behind."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
CHECKOUT_FILES = (
    "pyproject.toml",
    "setup.py",
    "constraints.txt",
    "Makefile",
    "README.md",
    "LICENSE",
    ".ci",
    "proxy",
    "comparators",
    "demo",
    "routes.yaml",
)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonical(name): version for name, version in (line.split("==") for line in lines)}


def requirements_closure() -> set[str]:
    """All that installing this project pulls in, here or on the oldest Python it runs on."""
    seen: set[str] = set()
    waiting = [("banyan-proxy", frozenset({"dev"}))]
    while waiting:
        name, extras = waiting.pop()
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:  # one that only the oldest Python needs
            continue
        for requirement in map(Requirement, requires):
            key = canonical(requirement.name)
            if key not in seen and is_wanted(requirement, extras):
                seen.add(key)
                waiting.append((key, frozenset(requirement.extras)))
    return seen


def is_wanted(requirement: Requirement, extras: frozenset[str]) -> bool:
    environments = [
        {"extra": extra} | python
        for extra in extras or {""}
        for python in ({}, {"python_version": "3.11", "python_full_version": "3.11.0"})
    ]
    return not requirement.marker or any(map(requirement.marker.evaluate, environments))


def test_each_constraint_is_one_exact_version() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    assert lines == sorted(lines, key=str.lower)
    assert len(pins()) == len(lines)


def test_everything_that_is_installed_is_pinned() -> None:
    assert requirements_closure() - set(pins()) == set()


def test_nothing_is_pinned_that_is_not_installed() -> None:
    build = {canonical(re.split(r"[<>=]", text)[0]) for text in pyproject_build_requires()}
    assert set(pins()) - requirements_closure() - build == set()


def test_the_build_backend_is_pinned() -> None:
    for text in pyproject_build_requires():
        assert canonical(re.split(r"[<>=]", text)[0]) in pins()


def pyproject_build_requires() -> list[str]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    requires = document["build-system"]["requires"]
    assert isinstance(requires, list)
    return requires


def make(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make as a user does; the variables of an outer make are not passed on."""
    inherited = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL"}}
    return subprocess.run(
        ["make", *arguments],
        cwd=directory,
        env=inherited | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def test_an_interpreter_without_venv_is_told_apart_in_one_sentence(tmp_path: Path) -> None:
    interpreter = tmp_path / "python-without-venv"
    interpreter.write_text(
        f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; *) exec {sys.executable} "$@";; esac\n'
    )
    interpreter.chmod(0o755)
    # Nothing may be installed for the sake of this test, so `id` says that we are nobody.
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = make(ROOT, "setup", f"PYTHON={interpreter}", f"VENV={tmp_path}/venv", PATH=path)
    assert done.returncode != 0
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"apt-get install python{version}-venv" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_no_python_at_all_is_told_in_one_sentence(tmp_path: Path) -> None:
    done = make(ROOT, "setup", "PYTHON=", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert "Python 3.11 or newer" in done.stderr


def test_a_second_setup_does_nothing(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / ".ready").touch()
    for name in ("pyproject.toml", "constraints.txt"):
        assert (ROOT / name).stat().st_mtime <= (venv / ".ready").stat().st_mtime
    done = make(ROOT, "setup", f"VENV={venv}")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in venv.iterdir()] == [".ready"]


@pytest.mark.extended
@pytest.mark.timeout(600)
def test_setup_in_a_clean_checkout_installs_exactly_the_pins(tmp_path: Path) -> None:
    checkout = tmp_path / "a check out"  # spaces are legal in a path
    checkout.mkdir()
    for name in CHECKOUT_FILES:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, checkout / name, ignore=ignored)
        else:
            shutil.copy(source, checkout / name)
    done = make(checkout, "setup")
    assert done.returncode == 0, done.stdout + done.stderr
    frozen = subprocess.run(
        [checkout / ".venv/bin/python", "-m", "pip", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        check=True,
    )
    installed = dict(line.split("==") for line in frozen.stdout.split())
    wanted = pins()
    for name, version in installed.items():
        if canonical(name) not in {"pip", "setuptools", "banyan-proxy"}:
            assert wanted[canonical(name)] == version
    helped = subprocess.run(
        [checkout / ".venv/bin/banyan", "--help"], capture_output=True, text=True, check=False
    )
    assert helped.returncode == 0, helped.stderr
