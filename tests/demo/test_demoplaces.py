"""Where the demo stands: on the ports of the file, or not at all."""

import socket
from pathlib import Path

import pytest

from proxy.cli.demoplaces import DemoError, check_free, places_of
from proxy.config import TcpAddress

ROOT = Path(__file__).parent.parent.parent


def written(directory: Path, text: str) -> Path:
    file = directory / "routes.yaml"
    file.write_text(text + '\nroutes: {"/a/*": legacy-only}\n')
    return file


def test_the_ports_of_the_shipped_file() -> None:
    assert [str(place) for place in places_of(ROOT / "routes.yaml")] == [
        "127.0.0.1:8080",
        "127.0.0.1:9090",
        "127.0.0.1:9001",
        "127.0.0.1:9002",
    ]


def test_the_shipped_file_has_a_route_in_each_phase_and_no_finding() -> None:
    from proxy.config import load

    loaded = load(ROOT / "routes.yaml", {})
    assert loaded.findings == ()
    assert loaded.config is not None
    phases = [str(route.phase) for route in loaded.config.routes[:-1]]
    assert phases == ["legacy-only", "shadow-read", "25%", "dual-write", "new-only"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("backends: {legacy: 'http://127.0.0.1:1', new: 'http://192.0.2.1:2'}", "the new shop"),
        ("backends: {legacy: 'https://127.0.0.1:1', new: 'http://127.0.0.1:2'}", "the legacy shop"),
        ("backends: {legacy: ['http://127.0.0.1:1', 'http://127.0.0.1:3'],"
         " new: 'http://127.0.0.1:2'}", "the legacy shop"),
        ("backends: {legacy: 'http://127.0.0.1:1', new: 'http://127.0.0.1:2'}\n"
         "listen: unix:/run/x.sock", "`listen`"),
        ("backends: {legacy: 'http://127.0.0.1:1', new: 'http://127.0.0.1:2'}\n"
         "admin: {listen: '127.0.0.1:0'}", "`admin.listen`"),
        ("backends: {}", "error BAD_VALUE"),
    ],
)  # fmt: skip
def test_a_file_that_the_demo_cannot_use_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DemoError, match=told):
        places_of(written(tmp_path, text))


def test_a_port_in_use_is_named_with_its_key() -> None:
    places = places_of(ROOT / "routes.yaml")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=rf"127.0.0.1:{port} \(backends.new\) is in use"):
            check_free(places._replace(new=TcpAddress("127.0.0.1", port)))
