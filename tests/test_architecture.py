"""The rules that keep the parts apart, checked on the source itself.

Each rule is a table with its reason; a new exception is added there, with a reason, or not at
all. What a process really loads is checked by loading it.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_LINES = 450

# Which packages of ours a package may import; "proxy.x" stands for everything below it too.
# `cli` is the top: it may import everything.
LAYERS = {
    "comparators": (),
    "proxy.core": (),
    "proxy.config": ("proxy.core", "comparators"),
    "proxy.edge": ("proxy.core",),
    "proxy.store": ("proxy.core", "comparators"),
    "proxy.observe": ("proxy.core", "comparators"),
    "proxy.admin": ("proxy.core", "proxy.observe"),
    "proxy.control": (
        "proxy.core",
        "proxy.config",
        "proxy.store",
        "proxy.observe",
        "proxy.admin",
        "comparators",
    ),
    "demo": ("comparators",),
}

# All that proxy.core may import: nothing here reads a clock, a file, a socket, the environment
# or chance. hashlib and hmac are functions of their arguments.
PURE_MODULES = (
    *("__future__", "abc", "array", "base64", "binascii", "bisect", "collections"),
    *("dataclasses", "enum", "functools", "hashlib", "heapq", "hmac", "http.HTTPStatus"),
    *("ipaddress", "itertools", "json", "math", "msgspec", "operator", "re", "string", "struct"),
    *("types", "typing", "urllib.parse"),
)
COMPARING_MODULES = (
    *("deepdiff", "orjson", "brotli", "zstandard", "zlib", "codecs", "decimal"),
    *("html", "unicodedata", "xml.parsers.expat"),
)
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__"})

# The data plane starts in a tenth of a second and stays small because of other people's code it
# loads only these, and because it loads none of the heavy parts of the standard library.
IN_A_WORKER = ("uvloop", "msgspec", "typing_extensions", "cython_runtime", "_cython")
NOT_IN_A_WORKER = ("sqlite3", "http.client", "email", "xml", "unittest", "urllib.request")

# HTTP as bytes lives in the data plane and in the pure grammar of heads it uses.
WIRE_CODE = (
    "proxy/edge/",
    "proxy/core/message.py",
    "proxy/core/chunked.py",
    "proxy/core/forwarding.py",
)
WIRE_LITERAL = re.compile(r"HTTP/1\.|\r\n")
WIRE_MODULES = frozenset({"http.client", "http.server", "httptools", "h11", "asyncio.sslproto"})

# Files that start tasks outside a TaskGroup, each with the object that holds and cancels them.
TASK_OWNERS = {
    "proxy/edge/names.py": "the host name holds its one look-up and cancels it in stop()",
    "proxy/edge/pool.py": "the pool holds its connecting tasks and cancels them when it closes",
}
TASK_STARTERS = frozenset({"create_task", "ensure_future", "run_coroutine_threadsafe"})

# Built from pieces, so that this file does not contain what it looks for.
INDEX_ADDRESS = re.compile(
    "|".join(
        (
            r"--(extra-)?index" + r"-url\b",
            r"--find" + r"-links\b",
            r"--trusted" + r"-host\b",
            r"PIP_(EXTRA_)?INDEX" + r"_URL",
            r"(https?|file)://[^\s\"')]*/" + r"simple\b",
            r"https?://[^\s\"')/]*(pypi|devpi|artifactory|nexus)" + r"[^\s\"')]*",
        )
    )
)
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|NotImplemented" + r"Error")
BARE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[)|#\s*noqa(?!:)")


def tracked_files() -> list[Path]:
    """Every file of the repository, from git where there is one, else what is lying here."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0 and listed.stdout:
        names = listed.stdout.strip("\0").split("\0")
        return sorted(ROOT / name for name in names if (ROOT / name).is_file())
    skipped = {".git", ".venv", ".banyan", "build", "__pycache__", ".mypy_cache", ".ruff_cache"}
    return sorted(
        path for path in ROOT.rglob("*") if path.is_file() and not skipped & set(path.parts)
    )


FILES = tracked_files()
SOURCES = [path for path in FILES if path.suffix == ".py"]
TREES = {path: ast.parse(path.read_text(), str(path)) for path in SOURCES}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def below(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Our own modules whose path starts with one of these."""
    for path, tree in TREES.items():
        if relative(path).startswith(folders):
            yield path, tree


def imports(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import, those inside functions included."""
    package = relative(path).removesuffix("/__init__.py").removesuffix(".py").split("/")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: -node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def docstrings(tree: ast.Module) -> set[int]:
    """The ids of the constant nodes that are docstrings or lone strings."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


@pytest.mark.parametrize("package", LAYERS)
def test_a_package_imports_only_the_layers_below_it(package: str) -> None:
    allowed = (package, *LAYERS[package])
    ours = ("proxy", "comparators", "demo", "migration", "benchmarks", "tests")
    found = [
        f"{relative(path)}:{line}: {name}"
        for path, tree in below(package.replace(".", "/") + "/")
        for line, name in imports(path, tree)
        if any(is_within(name, root) for root in ours)
        and not any(is_within(name, root) for root in allowed)
    ]
    assert found == []


def test_every_package_has_its_layer() -> None:
    packages = {relative(path.parent) for path in FILES if path.name == "__init__.py"}
    ours = {name.replace("/", ".") for name in packages if not name.startswith("tests")}
    known = {*LAYERS, "proxy", "proxy.cli", "benchmarks", "migration"}
    assert {name for name in ours if not any(is_within(name, root) for root in known)} == set()
    assert {name for name in ours if name.startswith("proxy.")} - known == set()


def test_the_core_is_pure() -> None:
    found = [
        f"{relative(path)}:{line}: imports {name}"
        for path, tree in below("proxy/core/", "comparators/")
        for line, name in imports(path, tree)
        if not any(
            is_within(name, allowed)
            for allowed in (*PURE_MODULES, *COMPARING_MODULES, "proxy.core", "comparators")
        )
    ]
    found += [
        f"{relative(path)}:{node.lineno}: calls {node.func.id}"
        for path, tree in below("proxy/core/", "comparators/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in IMPURE_CALLS
    ]
    found += [
        f"{relative(path)}:{node.lineno}: is a coroutine"
        for path, tree in below("proxy/core/", "comparators/")
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef | ast.Await)
    ]
    assert found == []


def test_the_comparing_libraries_stay_out_of_the_core() -> None:
    found = [
        f"{relative(path)}:{line}: {name}"
        for path, tree in below("proxy/core/")
        for line, name in imports(path, tree)
        if any(is_within(name, module) for module in COMPARING_MODULES)
    ]
    assert found == []


def test_only_the_data_plane_speaks_http_by_hand() -> None:
    found = []
    for path, tree in below("proxy/"):
        if relative(path).startswith(WIRE_CODE):
            continue
        prose = docstrings(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in prose:
                text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
                if isinstance(text, str) and WIRE_LITERAL.search(text):
                    found.append(f"{relative(path)}:{node.lineno}: {text!r}")
        found += [
            f"{relative(path)}:{line}: imports {name}"
            for line, name in imports(path, tree)
            if any(is_within(name, module) for module in WIRE_MODULES)
        ]
    assert found == []


def test_deepdiff_runs_only_where_comparisons_are_made() -> None:
    found = [
        f"{relative(path)}:{line}: {name}"
        for path, tree in below("proxy/", "demo/")
        for line, name in imports(path, tree)
        if is_within(name, "deepdiff")
    ]
    assert found == []


def test_a_worker_loads_nothing_of_the_controllers_stack() -> None:
    program = "import sys, proxy.edge.worker\nprint('\\n'.join(sorted(sys.modules)))\n"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before_us = ("__main__", "sitecustomize", "_distutils_hack", "_virtualenv", "__editable__")
    loaded = [name for name in done.stdout.split() if not name.startswith(before_us)]
    foreign = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names - {"proxy"}
    assert {name for name in foreign if not name.startswith(IN_A_WORKER)} == set()
    assert set(loaded) & set(NOT_IN_A_WORKER) == set()
    ours = {name for name in loaded if name.startswith("proxy.")}
    assert {name for name in ours if not name.startswith(("proxy.edge", "proxy.core"))} == set()


def task_starts(tree: ast.Module) -> Iterator[tuple[ast.Call, bool]]:
    """Each call that starts a task, and whether its result is thrown away.

    A method of something named like a group is a TaskGroup's, which holds its tasks itself.
    """
    discarded = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in TASK_STARTERS:
            yield node, id(node) in discarded
        elif isinstance(node.func, ast.Attribute) and node.func.attr in TASK_STARTERS:
            receiver = ast.unparse(node.func.value).split(".")[-1]
            if not re.fullmatch(r"_?(\w+_)?(group|tg|tasks)", receiver):
                yield node, id(node) in discarded


def test_every_task_has_an_owner() -> None:
    found = [
        f"{relative(path)}:{node.lineno}: {ast.unparse(node)}"
        for path, tree in below("proxy/", "comparators/", "demo/", "migration/")
        for node, discarded in task_starts(tree)
        if discarded or relative(path) not in TASK_OWNERS
    ]
    assert found == []


def test_the_list_of_task_owners_is_not_longer_than_it_must_be() -> None:
    starting = {relative(path) for path, tree in TREES.items() if any(task_starts(tree))}
    assert set(TASK_OWNERS) - starting == set()


def test_no_file_is_too_long_to_read() -> None:
    lengths = {relative(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: count for name, count in lengths.items() if count > MAX_LINES} == {}


def test_every_module_says_what_it_is() -> None:
    found = [
        relative(path)
        for path, tree in below("proxy/", "comparators/", "demo/", "benchmarks/", "migration/")
        if tree.body and not ast.get_docstring(tree)
    ]
    assert found == []


def text_of(path: Path) -> str:
    """Text, or nothing for a binary file."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


@pytest.mark.parametrize(
    ("rule", "suffixes"),
    [
        pytest.param(INDEX_ADDRESS, None, id="no address of a package index"),
        pytest.param(UNFINISHED, {".py", ".toml", ".yaml", ""}, id="nothing left unfinished"),
        pytest.param(BARE_IGNORE, {".py"}, id="each ignore names its rule"),
    ],
)
def test_no_file_contains(rule: re.Pattern[str], suffixes: set[str] | None) -> None:
    found = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in FILES
        if (suffixes is None or path.suffix in suffixes) and path != Path(__file__)
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if rule.search(line)
    ]
    assert found == []


def test_nothing_of_ours_is_mocked() -> None:
    found = [
        f"{relative(path)}:{line}: {name}"
        for path, tree in below("tests/")
        for line, name in imports(path, tree)
        if is_within(name, "unittest.mock") or is_within(name, "pytest_mock")
    ]
    assert found == []
