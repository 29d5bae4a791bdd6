"""Where the parts of the demo listen, as the configuration says, and whether they can."""

import errno
import os
import socket
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from proxy.config import Config, TcpAddress, load


class DemoError(Exception):
    """The demo cannot go on; the text is for the user."""


class Places(NamedTuple):
    """Where everything listens, as the configuration says."""

    proxy: TcpAddress
    admin: TcpAddress
    legacy: TcpAddress
    new: TcpAddress


def places_of(config_path: Path) -> Places:
    """The addresses in the file. Raises DemoError if the demo cannot stand there."""
    loaded = load(config_path, os.environ)
    if loaded.config is None:
        raise DemoError("\n".join(map(str, loaded.findings)))
    config = loaded.config
    if config.tls:
        raise DemoError(f"The demo's visitors speak no TLS; take `tls` out of {config_path}.")
    listeners = {"listen": config.listen, "admin.listen": config.admin.listen}
    for key, address in listeners.items():
        if not isinstance(address, TcpAddress) or not address.port:
            raise DemoError(f"The demo needs a fixed TCP port for `{key}`, not {address}.")
    assert isinstance(config.listen, TcpAddress)
    assert isinstance(config.admin.listen, TcpAddress)
    return Places(
        config.listen,
        config.admin.listen,
        _shop_place(config, "legacy"),
        _shop_place(config, "new"),
    )


def _shop_place(config: Config, name: str) -> TcpAddress:
    backend = config.backends.get(name)
    url = urlsplit(backend.urls[0]) if backend and len(backend.urls) == 1 else None
    if url and url.scheme == "http" and url.hostname and url.port and url.path in ("", "/"):
        address = TcpAddress(url.hostname, url.port)
        if address.is_loopback:
            return address
    raise DemoError(
        f"The demo starts the {name} shop where the backend `{name}` is, so that has to be one "
        "address of this machine, such as http://127.0.0.1:9001."
    )


def check_free(places: Places) -> None:
    """Raises DemoError naming each port that somebody else has."""
    keys = ("listen", "admin.listen", "backends.legacy", "backends.new")
    taken: list[str] = []
    for key, address in zip(keys, places, strict=True):
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address.host, address.port))
            except OSError as error:
                why = "is in use" if error.errno == errno.EADDRINUSE else str(error.strerror)
                taken.append(f"{address} ({key}) {why}")
    if taken:
        raise DemoError(
            f"The demo cannot start: {'; '.join(taken)}. Is another demo running? Stop it, or "
            "choose other ports in the routes file."
        )


def reachable(address: TcpAddress) -> TcpAddress:
    """Where a client on this machine finds a listener of that address."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    return TcpAddress(host, address.port)
