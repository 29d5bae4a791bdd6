"""The sockets the launcher opens and hands down, so that no restart loses a queued connection.

TCP: one SO_REUSEPORT socket per worker slot, since a worker that dies then leaves its queue to the
next one in its slot. Unix: REUSEPORT does not exist there, one socket is shared by all. Every
failure is a ListenError whose text is what the operator reads.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from proxy.config.addresses import Address, TcpAddress, UnixAddress

BACKLOG = 4096
LIVE_PROBE_TIMEOUT_S = 1.0


class ListenError(Exception):
    """An address cannot be listened on; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """The open sockets of one address: one per slot, or the same one for each (Unix)."""

    address: Address  # with the real port
    sockets: tuple[socket.socket, ...]
    inode: int | None = None  # of the Unix socket's file, to remove no other one

    def fileno(self, slot: int) -> int:
        """The descriptor that belongs to the slot."""
        return self.sockets[slot % len(self.sockets)].fileno()

    def unlink(self) -> None:
        """Remove the Unix socket's file, if it is still ours: then nobody new can connect."""
        if isinstance(self.address, UnixAddress):
            with contextlib.suppress(OSError):
                if os.stat(self.address.path).st_ino == self.inode:
                    os.unlink(self.address.path)

    def close(self) -> None:
        """Close our copies; what a worker has open stays open."""
        for each in self.sockets:
            each.close()

    def url(self, scheme: str) -> str:
        """How a client on this machine writes the address."""
        if isinstance(self.address, UnixAddress):
            return str(self.address)
        return f"{scheme}://{self.address}"


def listen(address: Address, slots: int, key: str) -> Listeners:
    """Listen on the address with one socket per slot. `key` is the setting to name in errors."""
    with _as_listen_error(address, key):
        if isinstance(address, UnixAddress):
            return _listen_unix(address, mode=0o666)
        return _listen_tcp(address, slots)


def listen_link(path: str) -> Listeners:
    """The link's socket in the private runtime directory."""
    address = UnixAddress(path)
    with _as_listen_error(address, "link"):
        return _listen_unix(address, mode=0o600)


@contextlib.contextmanager
def _as_listen_error(address: Address, key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            why = "another process listens there; stop it, or set another address"
        elif error.errno == errno.EACCES:
            why = "not allowed (ports below 1024 and foreign directories need more rights)"
        elif error.errno == errno.EADDRNOTAVAIL:
            why = "this machine has no such address"
        raise ListenError(f"cannot listen on {address} ({key}): {why}") from error


def _listen_tcp(address: TcpAddress, slots: int) -> Listeners:
    family, _, _, _, (host, port, *_) = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    _refuse_a_taken_port(family, host, port)
    opened: list[socket.socket] = []
    try:
        for _ in range(slots):
            each = socket.socket(family, socket.SOCK_STREAM)
            opened.append(each)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind((host, port))
            # Port 0: the first bind chooses, the others join it.
            port = int(each.getsockname()[1])
        # All bound before any listens: the kernel then spreads from the first connection on.
        for each in opened:
            each.listen(BACKLOG)
            each.setblocking(False)
    except OSError:
        for each in opened:
            each.close()
        raise
    return Listeners(TcpAddress(address.host, int(port)), tuple(opened))


def _refuse_a_taken_port(family: int, host: object, port: object) -> None:
    """SO_REUSEPORT would silently share the port with another Banyan of the same user."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _listen_unix(address: UnixAddress, mode: int) -> Listeners:
    _remove_a_stale_socket(address.path)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.bind(address.path)
        # Between bind and listen nobody can connect, so the mode is in force in time.
        os.chmod(address.path, mode)
        opened.listen(BACKLOG)
        opened.setblocking(False)
        return Listeners(address, (opened,), os.stat(address.path).st_ino)
    except OSError:
        opened.close()
        raise


def _remove_a_stale_socket(path: str) -> None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "a file that is not a socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(LIVE_PROBE_TIMEOUT_S)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            # Nobody listens: left behind by a process that was killed.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except TimeoutError:
            pass  # its queue is full: somebody listens
    raise OSError(errno.EADDRINUSE, "in use")
