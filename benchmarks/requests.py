"""The requests that every load generator sends: distinct targets, ten headers (or twenty).

A set is deterministic, so each proxy and each round gets the same bytes. `/api/` stands for the
small answer; other prefixes choose another answer of the backends or another route of Banyan.
"""

import hashlib
from pathlib import Path

DISTINCT = 4096

TEN_HEADERS = (
    "Host: shop.example.com",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: application/json, text/plain, */*",
    "Accept-Language: en-GB,en;q=0.8,de;q=0.5",
    "Accept-Encoding: gzip, deflate, br",
    "Referer: https://shop.example.com/orders",
    "Authorization: Bearer {token}",
    "Cookie: session={token}; theme=dark; consent=1",
    "X-Client-Version: 2024.11.{number}",
    "Cache-Control: no-cache",
)
TEN_MORE_HEADERS = (
    "Origin: https://shop.example.com",
    "DNT: 1",
    "Sec-Fetch-Dest: empty",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Site: same-origin",
    'Sec-CH-UA: "Chromium";v="128", "Not;A=Brand";v="24"',
    "Sec-CH-UA-Mobile: ?0",
    "Priority: u=1, i",
    "X-Tenant: tenant-{number}",
    "X-Csrf-Token: {token}",
)


def request_set(prefix: str = "/api/", *, more_headers: bool = False) -> list[bytes]:
    """`DISTINCT` whole GET requests, each with its own target, cookie and token."""
    headers = TEN_HEADERS + TEN_MORE_HEADERS if more_headers else TEN_HEADERS
    template = "\r\n".join(headers) + "\r\n\r\n"
    requests = []
    for number in range(DISTINCT):
        token = hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()
        target = f"{prefix}orders/{token[:12]}/items/{number}?expand=lines&page={number % 7}"
        head = template.replace("{token}", token).replace("{number}", str(number))
        requests.append(f"GET {target} HTTP/1.1\r\n{head}".encode())
    return requests


def write_set(path: Path, requests: list[bytes]) -> None:
    """Write a set to a file, NUL between two requests."""
    path.write_bytes(b"\0".join(requests))


def read_set(path: Path) -> list[bytes]:
    """Read what `write_set` wrote."""
    return path.read_bytes().split(b"\0")
