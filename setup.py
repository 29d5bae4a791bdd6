"""Compiles the data plane to C extensions when BANYAN_COMPILE=1, and is plain Python otherwise.

Which modules: `[tool.banyan]` in pyproject.toml. They go to build/compiled and into the wheel, and
never beside the sources, where they would be imported in place of an edited file; so an editable
install is refused with BANYAN_COMPILE=1.
"""

import os
import shutil
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from setuptools import setup

if TYPE_CHECKING:
    from setuptools import Extension

BUILD = Path("build/compiled")
COMPILING = frozenset({"bdist_wheel", "build", "build_ext", "install"})
IN_PLACE = frozenset({"develop", "editable_wheel", "--inplace", "-i"})


def compiled_modules() -> list[str]:
    """The files to compile, in order."""
    settings = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["banyan"]
    found = {str(path) for pattern in settings["compiled"] for path in Path().glob(pattern)}
    return sorted(found - set(settings["interpreted"]))


def check_tools() -> None:
    """Exit with one sentence where compiling cannot work."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if shutil.which(compiler.split()[0]) is None:
        sys.exit(
            f"BANYAN_COMPILE=1 needs a C compiler, and {compiler.split()[0]} was not found. "
            "On Debian or Ubuntu: apt-get install gcc libc6-dev."
        )
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(
            f"BANYAN_COMPILE=1 needs the headers of {sys.executable}, and there are none in "
            f"{headers}. On Debian or Ubuntu: apt-get install python{version}-dev."
        )
    try:
        import mypyc.build  # noqa: F401
    except ImportError:
        sys.exit(
            "BANYAN_COMPILE=1 needs mypy in the environment that builds: install it and the "
            "project's dependencies there, then build with --no-build-isolation."
        )


def compiled_extensions() -> "list[Extension]":
    """The extension modules; what was built for another list is thrown away first."""
    from mypyc.build import mypycify

    for left in BUILD.glob("lib*"):
        shutil.rmtree(left)
    return mypycify(
        compiled_modules(),
        opt_level="3",
        debug_level="0",
        target_dir=str(BUILD / "c"),
        group_name="banyan",
    )


def main() -> None:
    if os.environ.get("BANYAN_COMPILE", "") in ("", "0"):
        setup()
        return
    check_tools()
    words = set(sys.argv[1:])
    if words & IN_PLACE:
        sys.exit(
            "BANYAN_COMPILE=1 is for wheels: an editable install stays pure Python, since a "
            "compiled file would hide the source beside it."
        )
    setup(
        ext_modules=compiled_extensions() if words & COMPILING else [],
        options={"build": {"build_base": str(BUILD)}},
    )


# setuptools runs this file under this name too.
if __name__ == "__main__":
    main()
