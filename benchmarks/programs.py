"""Finds wrk, nginx and HAProxy, and installs what is missing with apt-get when root."""

import os
import shutil
import subprocess
from pathlib import Path

# Program and Debian package have the same name.
NEEDED = ("wrk", "nginx", "haproxy")
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
POLICY = Path("/usr/sbin/policy-rc.d")


class MissingProgramError(Exception):
    """A program is not there and cannot be installed; the text says what to do."""


def find_programs() -> dict[str, str]:
    """The path of each needed program, installed first where that is possible."""
    missing = [name for name in NEEDED if which(name) is None]
    if missing:
        install(missing)
    found: dict[str, str] = {}
    for name in NEEDED:
        path = which(name)
        if path is None:
            raise MissingProgramError(f"{name} was not found and could not be installed.")
        found[name] = path
    return found


def which(name: str) -> str | None:
    """Like `shutil.which`, but also where Debian keeps servers."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}")


def version(path: str) -> str:
    """One line that names the program's version, for the report."""
    argument = "-version" if path.endswith("wrk") else "-v"
    shown = subprocess.run([path, argument], capture_output=True, text=True, timeout=10)
    lines = (shown.stdout + shown.stderr).strip().splitlines()
    return " ".join(lines[0].split()[:3]) if lines else "unknown"


def install(names: list[str]) -> None:
    """Install Debian packages by name; raises `MissingProgramError` with the way out."""
    listed = " ".join(names)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingProgramError(
            f"The benchmarks need {listed}. Install them (on Debian: sudo apt-get install "
            f"{listed}) and run this again."
        )
    print(f"installing {listed} ...", flush=True)
    # Debian starts a server when its package is installed, unless this file says no (exit 101).
    forbidding = not POLICY.exists()
    if forbidding:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names],
        ):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=600
            )
            if done.returncode != 0:
                last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
                raise MissingProgramError(f"`{' '.join(command)}` failed: {' '.join(last)}")
    finally:
        if forbidding:
            POLICY.unlink(missing_ok=True)
