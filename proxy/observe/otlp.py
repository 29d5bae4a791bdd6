"""Delivery of spans to a collector: OTLP over HTTP, as protobuf, compressed.

The collector is believed in nothing: its answer is read up to a bound, its wish to wait is
followed up to a bound, and no redirect of it is followed. Its address may hold credentials (user,
path, query): only `Collector.shown` is ever told.
"""

import asyncio
import random
import ssl
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from yarl import URL

from proxy.observe.spans import Origin, spans_of
from proxy.observe.traced import TraceRecord

DEFAULT_PATH: Final = "/v1/traces"
CONTENT_TYPE: Final = "application/x-protobuf"
MAX_ANSWER_BYTES: Final = 64 << 10
MAX_RETRY_AFTER_S: Final = 60.0
RETRYABLE: Final = frozenset((429, 502, 503, 504))
SLICE: Final = 4  # records encoded before the loop has another turn: about 2 ms
_GZIP: Final = 16 + zlib.MAX_WBITS


class Collector:
    """Where spans go. `shown` is of its address what is never secret. Raises ValueError."""

    def __init__(self, address: str) -> None:
        url = URL(address)
        if url.path in ("", "/"):
            url = url.with_path(DEFAULT_PATH, keep_query=True)
        self.headers = {"Content-Type": CONTENT_TYPE, "Content-Encoding": "gzip"}
        if url.user is not None or url.password is not None:
            self.headers["Authorization"] = aiohttp.encode_basic_auth(
                url.user or "", url.password or ""
            )
        self.url = url.with_user(None).with_fragment(None)
        self.shown = str(url.origin())


class Delivery(msgspec.Struct, frozen=True):
    """What came of one try. `failure` is a short word without anything secret, "" for none."""

    failure: str = ""
    retry: bool = False
    retry_after_s: float = 0.0
    rejected: int = 0  # spans that the collector says it did not take
    said: str = ""  # what it says of it


class Backoff:
    """Waiting times that double, up to a bound, each drawn from its upper half."""

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def next_s(self) -> float:
        wait_s = self._next_s * random.uniform(0.5, 1.0)
        self._next_s = min(self._next_s * 2, self._most_s)
        return wait_s

    def reset(self) -> None:
        self._next_s = self._first_s


class Batch(msgspec.Struct, frozen=True):
    """Records as they are sent: how many spans, how many records were not to be encoded."""

    body: bytes
    spans: int
    broken: int


async def encode(records: Sequence[TraceRecord], origin: Origin) -> Batch:
    """The compressed body of one request. Gives way to the loop every few records."""
    packer = zlib.compressobj(level=1, wbits=_GZIP)
    pieces = []
    spans = broken = 0
    for at in range(0, len(records), SLICE):
        some = records[at : at + SLICE]
        encoded = [_encoded(some, origin)]
        if encoded == [None]:
            # What is wrong with one record must not cost the others.
            encoded = [_encoded([record], origin) for record in some]
        for each in encoded:
            if each is None:
                broken += 1
            else:
                # Messages one behind the other are one message: what repeats is added up.
                pieces.append(packer.compress(each[0]))
                spans += each[1]
        await asyncio.sleep(0)
    pieces.append(packer.flush())
    return Batch(b"".join(pieces), spans, broken)


def _encoded(records: Sequence[TraceRecord], origin: Origin) -> tuple[bytes, int] | None:
    """A message, and how many spans it has; None where it cannot be made."""
    try:
        spans = [span for record in records for span in spans_of(record, origin)]
        return encode_spans(spans).SerializeToString(), len(spans)
    except Exception:  # whatever is in a record
        return None


def session(timeout_s: float) -> aiohttp.ClientSession:
    """A session for one collector; the time is that of a whole request and its answer."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        connector=aiohttp.TCPConnector(limit=1),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "banyan"},
    )


async def deliver(session: aiohttp.ClientSession, collector: Collector, body: bytes) -> Delivery:
    """Try once. Never raises but when it is cancelled."""
    try:
        async with session.post(
            collector.url, data=body, headers=collector.headers, allow_redirects=False
        ) as response:
            return await _read(response)
    except TimeoutError:
        return Delivery("timeout", retry=True)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Delivery(failure_word(error), retry=True)


async def _read(response: aiohttp.ClientResponse) -> Delivery:
    status = response.status
    if status in RETRYABLE:
        wait_s = retry_after_s(response.headers.get("Retry-After", ""))
        response.close()
        return Delivery(str(status), retry=True, retry_after_s=wait_s)
    if not 200 <= status < 300:
        response.close()
        return Delivery(str(status))
    answer = await _bounded(response)
    if answer is None or response.content_type != CONTENT_TYPE:
        # It took them; what it says beside that is not for us.
        return Delivery()
    try:
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
    except DecodeError:
        return Delivery()
    return Delivery(rejected=max(0, partial.rejected_spans), said=partial.error_message[:200])


async def _bounded(response: aiohttp.ClientResponse) -> bytes | None:
    """The answer's body; None, and the connection is closed, where it is too long."""
    answer = bytearray()
    while piece := await response.content.read(MAX_ANSWER_BYTES):
        answer += piece
        if len(answer) > MAX_ANSWER_BYTES:
            response.close()
            return None
    return bytes(answer)


def retry_after_s(value: str) -> float:
    """Seconds (RFC 9110 §10.2.3), 0 where nothing sensible is said."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), MAX_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, min((at - datetime.now(UTC)).total_seconds(), MAX_RETRY_AFTER_S))


def failure_word(error: Exception) -> str:
    """A word for the failure. Never its text, which may hold the address."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return "tls"
    if isinstance(error, aiohttp.ClientSSLError):
        return "tls"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "refused"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "reset"
    return "protocol"
