"""A worker process: answers clients on its listening socket by the table the controller sends.

`python -m proxy.edge.worker --slot N --listen-fd FD --link PATH [--comparers PATH ...]
[--workers N] [--grace S] [--tls-cert FILE --tls-key FILE] [--pulse-fd FD --pulse-at BYTES]`.
It accepts nothing before its first table. SIGTERM drains: what waits in the listening queue is
still accepted, idle connections close, requests under way finish within the grace period, then exit
0. A second SIGTERM ends it at once.
"""

import argparse
import asyncio
import gc
import os
import resource
import signal
import socket
import ssl
import sys
import time

import uvloop

from proxy.edge.accepting import accept_until
from proxy.edge.context import Edge
from proxy.edge.link import Link
from proxy.edge.shipping import Shipper

BEAT_EVERY_S = 0.5


def main(argv: list[str] | None = None) -> int:
    """Run one worker until it has drained. Exit code 0, or 1 where it cannot begin."""
    options = _parse(argv)
    _raise_file_limit()
    # Requests leave no cycles behind; a full collection of a large table would only cost time.
    gc.set_threshold(50_000, 20, 50)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options))
    except (OSError, ssl.SSLError) as error:
        print(f"banyan worker {options.slot}: {error}", file=sys.stderr)
        return 1
    return 0


async def serve(options: argparse.Namespace) -> None:
    """Serve until drained."""
    loop = asyncio.get_running_loop()
    context = _server_context(options.tls_cert, options.tls_key)
    edge = Edge(loop, options.workers, context is not None)
    edge.wheel.start()
    drained = asyncio.Event()
    edge.on_drained = drained.set
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, stop)
    listener = socket.socket(fileno=options.listen_fd)
    listener.setblocking(False)
    async with asyncio.TaskGroup() as tasks:
        link = Link(edge, options.link, options.slot)
        owned = [
            tasks.create_task(link.run()),
            tasks.create_task(link.apply()),
            tasks.create_task(link.report()),
        ]
        if options.pulse_fd is not None:
            owned.append(tasks.create_task(_beat(options.pulse_fd, options.pulse_at)))
        if options.comparers:
            edge.shipper = Shipper(loop, options.slot, options.comparers)
            owned += [tasks.create_task(lane.run()) for lane in edge.shipper.lanes]
        waits = [
            tasks.create_task(link.ready.wait()),
            stopped := tasks.create_task(stopping.wait()),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.is_set():
            gc.collect()
            gc.freeze()
            await accept_until(stopped, edge, listener, context, tasks)
        listener.close()
        _drain(edge)
        try:
            async with asyncio.timeout(options.grace):
                await drained.wait()
        except TimeoutError:
            for client in list(edge.clients):
                client.abort()
        if edge.shipper is not None:
            edge.shipper.pump()
            edge.shipper.abandon()
        link.send_report(last=True)
        await link.flushed()
        for task in owned + waits:
            task.cancel()
    edge.wheel.stop()
    for pool in link.pools.values():
        await pool.stop()


async def _beat(descriptor: int, at: int) -> None:
    """Tell the launcher that the loop turns: a number that changes."""
    while True:
        os.pwrite(descriptor, time.monotonic_ns().to_bytes(8, "little"), at)
        await asyncio.sleep(BEAT_EVERY_S)


def _drain(edge: Edge) -> None:
    """No new connections: idle ones go, busy ones after their answer."""
    edge.draining = True
    for client in list(edge.clients):
        client.drain()
    edge.check_drained()


def _server_context(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    if cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(cert, key)
    return context


def _raise_file_limit() -> None:
    """As many descriptors as the system lets us have: each client may need two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="proxy.edge.worker")
    parser.add_argument("--slot", type=int, required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--link", required=True)
    parser.add_argument("--comparers", nargs="*", default=[], help="the comparers' sockets")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--grace", type=float, default=30.0)
    parser.add_argument("--pulse-fd", type=int)
    parser.add_argument("--pulse-at", type=int)
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
