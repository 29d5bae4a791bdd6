"""One URL of a backend: where it is, whether it takes requests, and its connections that idle."""

import asyncio
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy.core.model import BackendTls
from proxy.edge.names import HostName, is_address

if TYPE_CHECKING:
    from proxy.edge.backend import BackendConnection


class Endpoint:
    """One URL of a backend."""

    __slots__ = (
        "authority",
        "context",
        "ejected_until",
        "ejections",
        "failures",
        "healthy",
        "host",
        "idle",
        "is_tls",
        "name",
        "named",
        "outstanding",
        "path",
        "port",
        "refused_until",
        "url",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, url: str, tls: BackendTls | None) -> None:
        self.url = url
        self.path: str | None = None
        self.context: ssl.SSLContext | None = None
        if url.startswith("unix:"):
            self.path, self.host, self.port = url[len("unix:") :], "localhost", 0
            self.authority = b"localhost"
        else:
            parts = urlsplit(url)
            self.host = parts.hostname or ""
            default_port = 443 if parts.scheme == "https" else 80
            self.port = parts.port or default_port
            if parts.scheme == "https":
                self.context = client_context(tls or BackendTls())
            host = f"[{self.host}]" if ":" in self.host else self.host
            self.authority = (host if self.port == default_port else f"{host}:{self.port}").encode()
        self.is_tls = self.context is not None
        self.name = HostName(loop, self.host)
        self.named = self.path is None and not is_address(self.host)
        self.idle: list[BackendConnection] = []
        self.outstanding = 0
        self.failures = 0  # in a row
        self.ejections = 0
        self.ejected_until = 0.0
        self.refused_until = 0.0  # for shadows, after a connection could not be made
        self.healthy = True  # by the active check

    def usable(self, now: float) -> bool:
        return self.healthy and self.ejected_until <= now


def client_context(tls: BackendTls) -> ssl.SSLContext:
    """A TLS context for a backend: verification on unless the file says otherwise."""
    context = ssl.create_default_context(cafile=tls.ca)
    context.set_alpn_protocols(["http/1.1"])
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
