"""DNS rebinding: only hosts that nobody else can name are answered."""

import pytest

from proxy.admin.hosts import host_allowed


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:9090",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:9090",
        "127.9.9.9:1",
        "[::1]",
        "[::1]:9090",
        None,
    ],
)
def test_loopback_is_always_answered(host: str | None) -> None:
    for listen_host in ("127.0.0.1", "::1", "10.1.2.3", "0.0.0.0", None):
        assert host_allowed(host, listen_host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9090",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "",
        "[::1",
        "a:b:c",
        "127.0.0.1:9090:1",
        "2130706433",
    ],
)
def test_a_foreign_name_is_never_answered(host: str) -> None:
    for listen_host in ("127.0.0.1", "10.1.2.3", "0.0.0.0", "::", None):
        assert not host_allowed(host, listen_host)


def test_the_listen_host_is_answered() -> None:
    assert host_allowed("10.1.2.3:9090", "10.1.2.3")
    assert host_allowed("Admin.internal:9090", "admin.internal")
    assert not host_allowed("10.1.2.4:9090", "10.1.2.3")
    assert not host_allowed("10.1.2.3:9090", "127.0.0.1")


def test_on_every_address_any_literal_is_answered() -> None:
    assert host_allowed("10.1.2.3:9090", "0.0.0.0")
    assert host_allowed("[2001:db8::1]:9090", "::")
