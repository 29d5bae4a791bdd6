"""Requests as values, asked over real connections, and what may differ between two answers."""

import asyncio
from dataclasses import dataclass, replace

from tests.harness.client import Client
from tests.harness.wire import Headers, Response

# Fields of one connection, not of the answer (RFC 9110 §7.6.1; Proxy-Authenticate §11.7.1): a
# proxy has its own. All else stays in its place, with its case, order and repeats.
HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-authenticate"})
ANSWER_WITHIN_S = 20.0


@dataclass(frozen=True)
class Call:
    """One request. `chunks`, if any, are sent as a chunked body in place of `body`."""

    method: str
    target: str
    headers: tuple[str, ...] = ()
    body: bytes | None = None
    chunks: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        more = [*self.headers, *(["a chunked body"] if self.chunks else [])]
        return " ".join([self.method, self.target[:80], *more])

    def with_headers(self, *lines: str) -> "Call":
        return replace(self, headers=(*self.headers, *lines))

    @property
    def waits_to_be_told(self) -> bool:
        """Whether the body is held back until a 100 asks for it (RFC 9110 §10.1.1)."""
        return "Expect: 100-continue" in self.headers

    def encode(self, host: str) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {host}"]
        body = self.body or b""
        if self.chunks:
            lines.append("Transfer-Encoding: chunked")
            body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in self.chunks)
            body += b"0\r\n\r\n"
        elif self.body is not None:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, *self.headers, "", ""]).encode("latin-1") + body


class Asker:
    """Asks one address again and again, on one connection while that is kept."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self._client: Client | None = None

    async def ask(self, call: Call, host: str) -> Response:
        client = self._client
        if client is not None and client.reader.at_eof():
            client.close()
            client = None
        if client is None:
            client = self._client = await Client.to(self.address)
        try:
            answer = await self._exchange(client, call, host)
        except (AssertionError, asyncio.IncompleteReadError, ConnectionError) as error:
            self.close()
            raise AssertionError(f"no answer to {call}: {error!r}") from error
        if answer.closes or (answer.header("content-length") is None and not _chunked(answer)):
            self.close()
        return answer

    async def _exchange(self, client: Client, call: Call, host: str) -> Response:
        head, empty, body = call.encode(host).partition(b"\r\n\r\n")
        client.write(head + empty)
        interim: list[Response] = []
        if call.waits_to_be_told:
            interim.append(await client.head(ANSWER_WITHIN_S))
            assert interim[0].status == 100, interim[0].head
        client.write(body)
        answer = await client.response(call.method, ANSWER_WITHIN_S)
        answer.interim[:0] = interim
        return answer

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def end_to_end(headers: Headers) -> Headers:
    """The fields of the answer itself: those of one connection left out, the Date without time."""
    return [
        (name, b"(date)" if name.lower() == b"date" else value)
        for name, value in headers
        if name.lower() not in HOP_BY_HOP
    ]


def _chunked(answer: Response) -> bool:
    return answer.header("transfer-encoding") is not None
