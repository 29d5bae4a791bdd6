"""Programs that a test needs beside Python: found, installed where nobody is asked, or a skip."""

import os
import shutil
import subprocess
from functools import cache

import pytest

INSTALL_WITHIN_S = 300


def needed(program: str, package: str, part: str) -> str:
    """The path of the program. Skips the test, naming the `part` that is not tested, without it."""
    if why := _missing(program, package):
        pytest.skip(f"{part} is not tested: {why}")
    path = shutil.which(program)
    assert path is not None
    return path


@cache
def _missing(program: str, package: str) -> str:
    """Why there is no such program after all, or nothing."""
    if shutil.which(program):
        return ""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"{program} is missing (on Debian: sudo apt-get install {package})"
    for words in (("update", "-qq"), ("install", "-y", "-qq", "--no-install-recommends", package)):
        done = subprocess.run(
            ["apt-get", *words],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_WITHIN_S,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            return f"apt-get {words[0]} for {package} failed: {' '.join(last)}"
    return "" if shutil.which(program) else f"{package} does not bring {program}"
