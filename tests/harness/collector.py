"""A collector under test: an HTTP server that decodes the spans it gets, or misbehaves."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.harness.waiting import Changes

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
PROTOBUF = "application/x-protobuf"


async def taken(_: web.Request) -> web.StreamResponse:
    """The answer of a collector that took everything."""
    body = ExportTraceServiceResponse().SerializeToString()
    return web.Response(body=body, content_type=PROTOBUF)


def answering(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """The same answer each time."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return answer


class Collector:
    """Keeps what it got; `answers` are given in order, then `taken` for ever."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.answers: list[Answer] = []
        self.messages: list[ExportTraceServiceRequest] = []
        self.requests: list[tuple[str, Mapping[str, str]]] = []  # target, headers
        self.changes = Changes()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "Collector":
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Span]:
        """The spans of all messages that were answered with success."""
        return [
            span
            for message in self.messages
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    async def got(self, spans: int) -> None:
        """Wait until so many spans are here."""
        await self.changes.until(lambda: len(self.spans) >= spans, f"{spans} spans")

    async def asked(self, times: int) -> None:
        """Wait until it was asked so many times, whatever it answered."""
        await self.changes.until(lambda: len(self.requests) >= times, f"{times} requests")

    async def _take(self, request: web.Request) -> web.StreamResponse:
        # aiohttp has undone the coding by then.
        body = await request.read()
        self.requests.append((request.raw_path, request.headers.copy()))
        answer = self.answers.pop(0) if self.answers else taken
        self.changes.notify()
        response = await answer(request)
        if response.status == 200:
            self.messages.append(ExportTraceServiceRequest.FromString(body))
            self.changes.notify()
        return response


def value_of(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def values_of(attributes: Iterable[KeyValue]) -> dict[str, object]:
    """Attributes as a dictionary."""
    return {each.key: value_of(each.value) for each in attributes}
