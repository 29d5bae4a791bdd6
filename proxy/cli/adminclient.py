"""The admin API as the commands ask it: where it is, a GET or POST, errors in one paragraph."""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import aiohttp
import click
from yarl import URL

from proxy.admin.hosts import ADMIN_HEADER

if TYPE_CHECKING:
    from proxy.config.addresses import Address

TIMEOUT_S = 10.0
STREAM_TIMEOUT_S = 30.0  # between two pieces
LINE_BYTES = 64 << 20  # more than two recorded answers
ELSEWHERE = "--config FILE or --admin URL says where else to look."

_ADMIN = re.compile(
    r"(?:http://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/:@\[\]]+):(?P<port>[0-9]{1,5})/?"
)


class AdminError(Exception):
    """The admin API cannot be asked, or refuses; the text is one paragraph for the user."""


def admin_address(admin: str | None, config_path: Path) -> str:
    """Where the admin API is: `http://HOST:PORT` or `unix:/PATH`.

    Taken from `admin` if given, else from the configuration. Raises AdminError.
    """
    if admin is not None:
        if admin.startswith("unix:/"):
            return admin
        if not (parts := _ADMIN.fullmatch(admin)):
            raise click.BadParameter(
                f"{admin} is neither http://HOST:PORT nor unix:/PATH", param_hint="--admin"
            )
        return f"http://{parts['host']}:{parts['port']}"
    return _configured_address(config_path)


def _configured_address(config_path: Path) -> str:
    # Here, since checking a file takes half a second of imports that --admin does not need.
    from proxy.config import load
    from proxy.config.addresses import TcpAddress, UnixAddress

    loaded = load(config_path, os.environ)
    if loaded.config is not None:
        listen = loaded.config.admin.listen
    else:
        errors = [finding for finding in loaded.findings if finding.severity == "error"]
        more = f" (and {len(errors) - 1} more; see banyan check)" if len(errors) > 1 else ""
        found = _address_in_a_bad_file(config_path)
        if found is None:
            raise AdminError(
                f"The configuration does not say where the admin API is: {errors[0]}{more}. "
                "--admin URL names it without a configuration."
            )
        # While a bad edit lies there, the table before it is in force, and wanted to be seen.
        click.echo(
            f"{errors[0]}{more}. This file would be refused; asking the admin API that it names.",
            err=True,
        )
        listen = found
    if isinstance(listen, UnixAddress):
        return str(listen)
    if listen.port == 0:
        raise AdminError(
            f"{config_path} lets the system choose the port of the admin API (port 0); "
            "--admin URL says which one it is."
        )
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)
    return f"http://{TcpAddress(here, listen.port)}"


def _address_in_a_bad_file(config_path: Path) -> "Address | None":
    """Where a file that has errors elsewhere puts the admin API; None if it cannot be told."""
    from proxy.config.addresses import parse_address
    from proxy.config.document import Document, MalformedError
    from proxy.config.schema import DEFAULT_ADMIN_LISTEN
    from proxy.config.source import UnreadableError, read_source

    try:
        value = Document(read_source(config_path).decode(), os.environ).value
        return parse_address((value.get("admin") or {}).get("listen") or DEFAULT_ADMIN_LISTEN)
    except (UnreadableError, MalformedError, AttributeError, TypeError, ValueError):
        return None


class AdminClient:
    """Asks the admin API at `address`; a connection for each question."""

    def __init__(self, address: str, timeout_s: float = TIMEOUT_S) -> None:
        self.address = address
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`. Raises AdminError."""
        async with self._asked(path, self._timeout) as answer:
            return _checked(self.address, answer.status, await _object(answer))

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What comes of sending this JSON. Raises AdminError."""
        async with self._asked(path, self._timeout, body) as answer:
            return _checked(self.address, answer.status, await _object(answer))

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines at `path`, each with its end. Raises AdminError, also if it breaks off."""
        times = aiohttp.ClientTimeout(sock_connect=TIMEOUT_S, sock_read=STREAM_TIMEOUT_S)
        async with self._asked(path, times) as answer:
            if answer.status != 200 or answer.content_type != "application/x-ndjson":
                _checked(self.address, answer.status, await _object(answer))
                raise AdminError(_foreign(self.address, answer.status))
            while line := await answer.content.readuntil(b"\n", max_size=LINE_BYTES):
                yield line

    @contextlib.asynccontextmanager
    async def _asked(
        self,
        path: str,
        times: aiohttp.ClientTimeout,
        sent: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        connector: aiohttp.BaseConnector
        if self.address.startswith("unix:"):
            connector = aiohttp.UnixConnector(self.address.removeprefix("unix:"))
            url = URL(f"http://localhost{path}", encoded=True)
        else:
            connector, url = aiohttp.TCPConnector(), URL(self.address + path, encoded=True)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=times) as session,
                session.request(
                    "GET" if sent is None else "POST", url, json=sent, allow_redirects=False
                ) as answer,
            ):
                if ADMIN_HEADER not in answer.headers:
                    raise AdminError(_foreign(self.address, answer.status))
                yield answer
        except TimeoutError:
            raise AdminError(
                f"The admin API at {self.address} did not answer within "
                f"{times.total or times.sock_read:g} s. {ELSEWHERE}"
            ) from None
        except (aiohttp.ClientPayloadError, asyncio.IncompleteReadError):
            raise AdminError(
                f"What the admin API at {self.address} answered broke off: its log may say why."
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise AdminError(
                f"The admin API at {self.address} cannot be reached ({_reason(error)}). Is "
                f"banyan serve running with this configuration? {ELSEWHERE}"
            ) from None


def query(**asked: str | int | None) -> str:
    """`?name=value&...` of what is not None, percent-encoded; nothing if all is."""
    given = {name: value for name, value in asked.items() if value is not None}
    return "?" + urlencode(given, quote_via=quote) if given else ""


def _checked(address: str, status: int, body: dict[str, Any] | None) -> dict[str, Any]:
    if body is None or (status == 200) == ("detail" in body and "title" in body):
        raise AdminError(_foreign(address, status))
    if status == 409:
        raise AdminError(f"Refused: {body['detail']}")
    if status == 503:
        raise AdminError(f"The admin API cannot say yet: {body['detail']}")
    if status != 200:
        raise AdminError(f"The admin API refuses (status {status}): {body['detail']}")
    return body


def _foreign(address: str, status: int) -> str:
    return (
        f"What answers at {address} is not the admin API of Banyan (status {status}): the proxy's "
        f"own port is another one. {ELSEWHERE}"
    )


async def _object(answer: aiohttp.ClientResponse) -> dict[str, Any] | None:
    try:
        body = await answer.json(content_type=None)
    except ValueError:
        return None
    return dict(body) if isinstance(body, Mapping) else None


def _reason(error: Exception) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, OSError) and cause.strerror:
        # asyncio's text repeats the address; the number's own words do not.
        return os.strerror(cause.errno).lower() if cause.errno else cause.strerror
    return str(cause) or type(cause).__name__
