"""Two connections joined after an Upgrade: bytes both ways, with back-pressure, until either ends.

A side that ends its half is passed on as such; a tunnel without a byte for an hour is cut.
"""

from typing import TYPE_CHECKING, Final

from proxy.core.forwarding import switching_bytes
from proxy.core.message import ResponseHead
from proxy.edge.wheel import Timed, Wheel

if TYPE_CHECKING:
    from proxy.edge.backend import BackendConnection
    from proxy.edge.client import ClientConnection

IDLE_S: Final = 3600.0


class Tunnel(Timed):
    """Owned by the relay that switched; ends with the client's connection."""

    __slots__ = ("backend", "backend_ended", "client", "client_ended", "wheel")

    def __init__(
        self, client: "ClientConnection", backend: "BackendConnection", wheel: Wheel
    ) -> None:
        super().__init__()
        self.client = client
        self.backend = backend
        self.wheel = wheel
        self.client_ended = False
        self.backend_ended = False

    def open(self, head: ResponseHead) -> None:
        self.client.write(switching_bytes(head))
        ahead = self.client.enter_tunnel()
        if ahead:
            self.backend.send_raw(ahead)
        self.wheel.set(self, IDLE_S)
        if self.client.eof:
            # It had said all it will before there was a tunnel.
            self.client_eof()

    def from_client(self, data: bytes) -> None:
        self.wheel.set(self, IDLE_S)
        self.backend.send_raw(data)

    def from_backend(self, data: bytes) -> None:
        self.wheel.set(self, IDLE_S)
        self.client.write(data)

    def client_eof(self) -> None:
        self.client_ended = True
        self.backend.end_half()
        if self.backend_ended:
            self.client.close()

    def backend_eof(self) -> None:
        self.backend_ended = True
        self.client.end_half()
        if self.client_ended:
            # Nothing ends what both sides have half-closed; its loss closes the backend's too.
            self.client.close()

    def backend_lost(self) -> None:
        self.wheel.forget(self)
        self.client.close()

    def pause(self) -> None:
        self.backend.pause()

    def resume(self) -> None:
        self.backend.resume()

    def close(self) -> None:
        """The client is gone."""
        self.wheel.forget(self)
        self.backend.close()

    def on_deadline(self) -> None:
        self.client.abort()
