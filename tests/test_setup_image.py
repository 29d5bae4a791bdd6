"""The Dockerfile, as far as it can be tested without an engine: its commands run in clean places.

Every path of the image is mapped below a directory of its own, the commands of the build stage are
run there, and what the image would start is started as the image's user (where we may become it)
with the image's environment, probed with the image's health check, and stopped with its signal.
What is not tested: the base image itself, and the layers. Compiling takes a minute: the image is
pure Python here, but for one of the longer tests.
"""

import contextlib
import fnmatch
import glob
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from tests.harness.ports import free_ports

ROOT = Path(__file__).parent.parent
WITHIN_S = 60.0
IMAGE_PATHS = ("/opt/banyan", "/opt/build", "/src", "/etc/banyan", "/var/lib/banyan")


class Instruction(NamedTuple):
    """One line of the Dockerfile, in its stage (0 builds, 1 is the image)."""

    stage: int
    name: str
    text: str


def instructions() -> list[Instruction]:
    found: list[Instruction] = []
    stage = -1
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, text = line.partition(" ")
        stage += name == "FROM"
        found.append(Instruction(stage, name, text))
    return found


def of(stage: int, name: str) -> list[str]:
    return [each.text for each in instructions() if each.stage == stage and each.name == name]


def environment(stage: int) -> dict[str, str]:
    return dict(pair.split("=", 1) for line in of(stage, "ENV") for pair in line.split())


def exec_form(text: str) -> list[str]:
    """The words of an exec form. No shell stands between the engine and the process."""
    words = json.loads(text[text.index("[") :])
    assert isinstance(words, list)
    return words


def health_check() -> list[str]:
    (text,) = of(1, "HEALTHCHECK")
    return exec_form(text)


class Image:
    """The image's file system below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, text: str) -> str:
        """The text with every path of the image in it mapped."""
        pattern = "|".join(map(re.escape, IMAGE_PATHS))
        return re.sub(rf"(?<![\w/])({pattern})\b", lambda m: f"{self.root}{m[0]}", text)

    def environment(self, stage: int) -> dict[str, str]:
        """What a process of that stage finds, with our way out to the package index."""
        passed_on = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_"))}
        ours = {name: self.path(value) for name, value in environment(stage).items()}
        path = ours.get("PATH", "$PATH").replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
        return {"HOME": "/nonexistent"} | (passed_on if stage == 0 else {}) | ours | {"PATH": path}


def base_python() -> str:
    """An interpreter that any user may run, if there is one: the image's is such a one."""
    for candidate in ("/usr/bin/python3.11", "/usr/local/bin/python3.11"):
        if os.access(candidate, os.X_OK):
            done = subprocess.run([candidate, "-c", "import ensurepip, venv"], check=False)
            if done.returncode == 0:
                return candidate
    return sys.executable


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image, in pure Python."""
    with built(BANYAN_COMPILE="0") as made:
        yield made


@contextlib.contextmanager
def built(**changed: str) -> Iterator[Image]:
    """The image, built: COPY and RUN of both stages, each command as it stands."""
    root = Path(tempfile.mkdtemp(prefix="banyan-image-"))
    try:
        root.chmod(0o755)
        made = Image(root)
        for path in IMAGE_PATHS:
            (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        source = root / "src"
        source.mkdir()
        for line in of(0, "COPY"):
            *names, target = line.split()
            for name in names:
                if (ROOT / name).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(ROOT / name, source / target, ignore=ignored)
                else:
                    shutil.copy(ROOT / name, source / target)
        for command in of(0, "RUN"):
            words = shlex.split(made.path(command))
            if words[0] == "python":
                words[0] = base_python()
            if "*" in words[-1]:  # all that is left to the shell
                words[-1:] = glob.glob(words[-1])
            done = subprocess.run(
                words, cwd=source, env=made.environment(0) | changed, capture_output=True,
                text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        shutil.rmtree(source)
        for command in of(1, "RUN"):
            words = shlex.split(made.path(command))
            if words[0] == "install":
                if os.geteuid() != 0:  # only root gives files away
                    words = [w for w in words if w not in ("-o", "-g", "10001")]
                subprocess.run(words, check=True)
        yield made
    finally:
        shutil.rmtree(root, ignore_errors=True)


def test_the_image_runs_as_a_user_of_its_own() -> None:
    (user,) = of(1, "USER")
    (added,) = (text for text in of(1, "RUN") if text.startswith("useradd"))
    assert re.fullmatch(r"[1-9][0-9]+:[1-9][0-9]+", user)
    assert f"--uid {user.split(':')[0]}" in added
    assert [each.name for each in instructions() if each.stage == 1][-8] == "USER"


def test_nothing_runs_through_a_shell() -> None:
    assert exec_form(of(1, "ENTRYPOINT")[0]) == ["banyan"]
    assert exec_form(of(1, "CMD")[0]) == ["serve"]
    assert health_check()[0] == "python"


def test_the_port_and_the_volume_are_those_of_the_defaults() -> None:
    assert of(1, "EXPOSE") == ["8080"]
    assert of(1, "VOLUME") == ["/var/lib/banyan"]
    assert environment(1)["BANYAN_CONFIG"] == "/etc/banyan/routes.yaml"
    assert environment(1)["BANYAN_STATE"].startswith("sqlite:/var/lib/banyan/")


def test_what_is_copied_is_there_and_not_ignored() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    for line in of(0, "COPY"):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists()
            assert f"!{name}" in rules
    assert "*" in rules
    assert any(fnmatch.fnmatch("proxy/__pycache__", rule) for rule in rules)


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("useradd"),
    reason="useradd and groupadd of the Dockerfile run only as root, with the package passwd",
)
def test_the_user_can_be_added(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group", "shadow", "gshadow"):
        (tmp_path / "etc" / name).touch()
    for command in of(1, "RUN"):
        words = shlex.split(command)
        if words[0] in ("groupadd", "useradd"):
            subprocess.run([words[0], "--prefix", str(tmp_path), *words[1:]], check=True)
    entry = (tmp_path / "etc/passwd").read_text().strip()
    assert entry == "banyan:x:10001:10001::/nonexistent:/usr/sbin/nologin"


def can_run_as_the_user(image: Image) -> bool:
    """Whether we may become the image's user and it may run the interpreter we have."""
    if os.geteuid() != 0:
        return False
    python = f"{image.root}/opt/banyan/bin/python"
    done = subprocess.run(
        ["/bin/sh", "-c", f"{python} -c 'import proxy'"],
        user=10001, group=10001, extra_groups=[], cwd="/", check=False, capture_output=True,
    )  # fmt: skip
    return done.returncode == 0


@pytest.mark.timeout(300)
def test_the_image_starts_gets_healthy_and_stops(image: Image) -> None:
    proxy, admin, legacy, new = free_ports(4)
    config = image.root / "etc/banyan/routes.yaml"
    config.write_text(
        f"listen: 127.0.0.1:{proxy}\nadmin: {{listen: 127.0.0.1:{admin}}}\n"
        f"backends: {{legacy: 'http://127.0.0.1:{legacy}', new: 'http://127.0.0.1:{new}'}}\n"
        "routes: {'/api/*': legacy-only}\n"
    )
    config.chmod(0o644)
    environment = image.environment(1) | {"HEALTH_URL": f"http://127.0.0.1:{admin}/readyz"}
    user = 10001 if can_run_as_the_user(image) else None
    binaries = image.root / "opt/banyan/bin"
    command = [*exec_form(of(1, "ENTRYPOINT")[0]), *exec_form(of(1, "CMD")[0])]
    probe = [f"{binaries}/{health_check()[0]}", *health_check()[1:]]

    def is_healthy() -> bool:
        done = subprocess.run(
            probe, env=environment, cwd="/", capture_output=True, check=False, user=user, group=user
        )
        return done.returncode == 0

    assert not is_healthy()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [f"{binaries}/{command[0]}", *command[1:]],
            env=environment,
            cwd=image.root / "var/lib/banyan",
            stdout=log,
            stderr=log,
            user=user,
            group=user,
        )
        try:
            deadline = time.monotonic() + WITHIN_S
            while not is_healthy():
                assert process.poll() is None, told(log)
                assert time.monotonic() < deadline, told(log)
            assert (image.root / "var/lib/banyan/state.db").exists()
            process.send_signal(signal.Signals[of(1, "STOPSIGNAL")[0]])
            assert process.wait(WITHIN_S) == 0, told(log)
        finally:
            process.kill()
            process.wait()
    assert not is_healthy()


def told(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")


@pytest.mark.timeout(300)
def test_the_image_holds_the_pins_and_no_installer(image: Image) -> None:
    program = (
        "from importlib.metadata import distributions\n"
        "print('\\n'.join(f'{d.name}=={d.version}' for d in distributions()))"
    )
    done = subprocess.run(
        [f"{image.root}/opt/banyan/bin/python", "-c", program],
        env=image.environment(1), cwd="/", capture_output=True, text=True, check=True,
    )  # fmt: skip
    installed = {line.lower().replace("_", "-") for line in done.stdout.split()}
    pins = {
        line.lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()
    }
    ours = {line for line in installed if line.startswith("banyan-proxy==")}
    assert len(ours) == 1
    assert installed - ours - pins == set()
    names = {line.split("==")[0] for line in installed}
    assert names & {"pip", "pytest", "mypy"} == set()


@pytest.mark.extended
@pytest.mark.timeout(600)
def test_the_data_plane_of_the_image_is_compiled() -> None:
    """Where the interpreter that stands in for the image's has a compiler and headers."""
    with built() as image:
        done = subprocess.run(
            [f"{image.root}/opt/banyan/bin/banyan", "--version"],
            env=image.environment(1), cwd="/", capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert "(compiled data plane)" in done.stdout
