"""Other people's services, each installed from PyPI into a virtual environment of its own.

The environments are kept in the ignored `build` folder, one for each set of pins and each Python.
Where they cannot be made (no PyPI, no network) the tests are skipped, naming the part and why.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINS = Path(__file__).parent / "pins"
INSTALL_WITHIN_S = 300
# The pins of the product, which the Makefile exports, are not those of a service.
FOREIGN_VARIABLES = ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT", "PYTHONPATH", "VIRTUAL_ENV")


def python_with(name: str, *requirements: str, part: str) -> Path:
    """The interpreter that has `requirements`, as pinned in `pins/NAME.txt`.

    Skips the test without it, naming the `part` that is not tested.
    """
    python, why = _made(name, requirements)
    if why:
        pytest.skip(f"{part} is not tested: {why}")
    return python


@cache
def _made(name: str, requirements: tuple[str, ...]) -> tuple[Path, str]:
    """The interpreter, and why it cannot be used after all, or nothing."""
    pins = PINS / f"{name}.txt"
    digest = hashlib.sha256(pins.read_bytes() + repr((requirements, sys.version)).encode())
    folder = ROOT / "build" / "services" / f"{name}-{digest.hexdigest()[:12]}"
    python = folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / ".ready"  # written last, so that an interrupted set-up is done again
        if not stamp.exists():
            if why := _install(folder, python, pins, requirements):
                shutil.rmtree(folder, ignore_errors=True)
                return python, why
            stamp.touch()
    return python, ""


def _install(folder: Path, python: Path, pins: Path, requirements: tuple[str, ...]) -> str:
    """Make the environment anew; why that failed, or nothing."""
    shutil.rmtree(folder, ignore_errors=True)
    # Our own pip installs into it, so that it needs none, and no ensurepip.
    into = ("pip", "--python", str(python), "install", "--quiet", "--no-compile", "--no-input")
    rules = ("--disable-pip-version-check", "--retries", "1", "-c", str(pins))
    for words in (("venv", "--without-pip", str(folder)), (*into, *rules, *requirements)):
        try:
            done = subprocess.run(
                [sys.executable, "-m", *words],
                env={k: v for k, v in os.environ.items() if k not in FOREIGN_VARIABLES},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=INSTALL_WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{words[0]} took more than {INSTALL_WITHIN_S} s for {' '.join(requirements)}"
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            first = (said or done.stderr.splitlines()[-1:] or ["it said nothing"])[0]
            return f"{words[0]} failed for {' '.join(requirements)}: {first}"
    return ""
