"""Where a listener stands: `host:port`, `[v6]:port` or `unix:/path`, as small values."""

import ipaddress
import re
from dataclasses import dataclass

LEGAL = "host:port, [v6]:port or unix:/path"

# Longer paths do not fit into sockaddr_un.
UNIX_PATH_BYTES = 107

_TCP = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]*)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host (name or IP, without brackets) and a port; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The absolute path of a Unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def is_loopback(self) -> bool:
        return True


Address = TcpAddress | UnixAddress


def parse_address(text: str) -> Address:
    """The address written as `text`. Raises ValueError with what is legal."""
    if text.startswith("unix:"):
        return UnixAddress(parse_unix_path(text))
    found = _TCP.fullmatch(text)
    if not found:
        raise ValueError(f"is not an address; legal is {LEGAL}")
    port = int(found["port"])
    if port > 65535:
        raise ValueError(f"has port {port}; legal is 0 to 65535")
    if found["v6"] is not None:
        try:
            return TcpAddress(str(ipaddress.IPv6Address(found["v6"])), port)
        except ValueError:
            raise ValueError(f"has no IPv6 address in its brackets; legal is {LEGAL}") from None
    # An empty host (":8080") is every address, as in most servers.
    return TcpAddress(found["host"] or "0.0.0.0", port)


def parse_unix_path(text: str) -> str:
    """The path of `unix:/path`. Raises ValueError with what is legal."""
    path = text.removeprefix("unix:")
    if not path.startswith("/") or "\0" in path:
        raise ValueError("needs an absolute path, such as unix:/run/banyan.sock")
    if len(path.encode()) > UNIX_PATH_BYTES:
        raise ValueError(f"is longer than a socket's path may be ({UNIX_PATH_BYTES} bytes)")
    return path
