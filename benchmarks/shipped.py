"""What is measured is what is shipped: the compiled wheel, in the distribution's interpreter.

Both are made below build/benchmarks, once for each state of the sources. Where there is no C
compiler the sources are measured as they are, and where the distribution has no interpreter of our
version the one that runs this; the report's header says which it was.
"""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchError
from benchmarks.programs import MissingProgramError, install

ROOT = Path(__file__).parent.parent
PLACE = ROOT / "build/benchmarks"
SOURCES = ("pyproject.toml", "setup.py", "constraints.txt")
SOURCE_TREES = ("proxy", "comparators", "demo")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

_ASK = """
import platform, sysconfig
arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
print("--enable-optimizations" in arguments, platform.python_version())
"""


@dataclass(frozen=True)
class Shipped:
    """The interpreter that runs Banyan and the aiohttp proxy, and how Banyan is started in it."""

    python: str
    environment: dict[str, str]
    text: str  # for the header


def prepare(pure: bool) -> Shipped:
    """Build what is not there yet. `pure`: the same interpreter, Banyan's data plane in Python."""
    base = interpreter()
    venv = PLACE / f"venv-{VERSION}"
    python = str(venv / "bin/python")
    stamp = venv / "stamp"
    state = digest(base)
    if not stamp.exists() or stamp.read_text() != state:
        print("building the compiled wheel and a virtual environment for it ...", flush=True)
        run([base, "-m", "venv", "--clear", str(venv)])
        wheel = build(compiled=True) or build(compiled=False)
        if wheel is None:
            raise BenchError("no wheel could be built")
        run([python, "-m", "pip", "install", "--quiet", "-c", "constraints.txt", str(wheel)])
        stamp.write_text(state)
    # Neither the working directory nor anything else may come before what is installed.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    environment.pop("PYTHONPATH", None)
    if pure:
        environment["PYTHONPATH"] = str(ROOT)
    told = run(
        [python, "-c", "from proxy.edge.build import describe; print(describe())"], environment
    )
    return Shipped(python, environment, f"{told.strip()}; Python {described(base)}")


def interpreter() -> str:
    """The distribution's, where it has our version: those are built with profiles (PGO)."""
    ours = str(Path(sys.executable).resolve())
    theirs = f"/usr/bin/python{VERSION}"
    if not os.access(theirs, os.X_OK):
        return ours
    if subprocess.run([theirs, "-c", "import ensurepip, venv"], capture_output=True).returncode:
        try:
            install([f"python{VERSION}-venv"])
        except MissingProgramError:
            return ours
    return theirs


def described(python: str) -> str:
    profiled, version = run([python, "-c", _ASK]).split()
    if python.startswith("/usr/bin/"):
        made = "the distribution's build"
    elif profiled == "True":
        made = "built with profiles (PGO)"
    else:
        made = "built WITHOUT profiles (PGO): about 1.3 x slower"
    return f"{version}, {made}, {python}"


def build(compiled: bool) -> Path | None:
    """A wheel of the sources as they are; None where it cannot be compiled."""
    target = PLACE / "wheel"
    for left in target.glob("*.whl"):
        left.unlink()
    environment = {**os.environ, "BANYAN_COMPILE": "1" if compiled else "0"}
    environment.pop("PIP_BUILD_CONSTRAINT", None)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation"),
            *("--no-deps", "--wheel-dir", str(target), "."),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        print(done.stderr.strip(), file=sys.stderr)
        return None
    (wheel,) = target.glob("*.whl")
    return wheel


def digest(base: str) -> str:
    """Of everything that decides what is built."""
    state = hashlib.sha256(f"{base} {sys.executable}".encode())
    paths = [ROOT / name for name in SOURCES]
    for tree in SOURCE_TREES:
        paths += sorted((ROOT / tree).rglob("*.py"))
    for path in paths:
        state.update(f"\n{path}\n".encode())
        state.update(path.read_bytes())
    return state.hexdigest()


def run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """The standard output of a command that has to succeed."""
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"`{' '.join(command[:4])}` failed: {done.stderr.strip()[-500:]}")
    return done.stdout
