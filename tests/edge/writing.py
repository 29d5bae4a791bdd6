"""Where writes go in every phase (contract §2), and a backend that holds them."""

import asyncio

from proxy.core.model import Side
from tests.edge.conftest import Proxy
from tests.harness.backend import Backend, Call, Handler, plain

LEGACY, NEW = "legacy", "new"
# Phase: (asked first, asked then, the side that misses the write).
TABLE: dict[str, tuple[str, str | None, Side | None]] = {
    "legacy-only": (LEGACY, None, Side.NEW),
    "shadow-read": (LEGACY, None, Side.NEW),
    "0%": (LEGACY, NEW, None),
    "1%": (LEGACY, NEW, None),
    "50%": (LEGACY, NEW, None),
    "99%": (LEGACY, NEW, None),
    "dual-write": (NEW, LEGACY, None),
    "new-only": (NEW, None, Side.LEGACY),
}
BOTH = [name for name, row in TABLE.items() if row[1]]


def sides(proxy: Proxy, name: str) -> tuple[Backend, Backend]:
    """The backend that is asked first in that phase, and the other one."""
    first = TABLE[name][0]
    return (proxy.legacy, proxy.new) if first == LEGACY else (proxy.new, proxy.legacy)


def held(gate: asyncio.Event) -> Handler:
    """Answers reads at once and writes when the gate opens."""

    async def handler(call: Call) -> None:
        await call.read()
        if call.method != "GET":
            await gate.wait()
        await plain(call)

    return handler
