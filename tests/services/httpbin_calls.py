"""What httpbin is asked: every rule of its table, each with every method that the rule allows.

`CALLS` is keyed by the rule as httpbin writes it; a test holds keys and methods to the real
application. A rule that echoes the request (`ECHOING`) shows what the proxy adds to it.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator

from tests.services.asking import Call

READS = ("GET", "HEAD", "OPTIONS")
EVERY = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")

JSON = ("Content-Type: application/json",)
FORM = ("Content-Type: application/x-www-form-urlencoded",)
MULTIPART = ("Content-Type: multipart/form-data; boundary=----banyan",)
FORM_BODY = b"name=J%C3%BCrgen&tag=a&tag=b&empty=&plus=1+1"
MULTIPART_BODY = (
    b'------banyan\r\nContent-Disposition: form-data; name="field"\r\n\r\nvalue\r\n'
    b'------banyan\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n" + bytes(range(256)) + b"\r\n"
    b"------banyan--\r\n"
)


def bodies(*methods: str, target: str) -> Iterator[Call]:
    """Each kind of body with each method."""
    for method in methods:
        yield Call(method, target, JSON, b'{"a": [1, 2.5, null], "\xc3\xa9": "\\u2713"}')
        yield Call(method, target, FORM, FORM_BODY)
        yield Call(method, target, MULTIPART, MULTIPART_BODY)
        yield Call(method, target, ("Content-Type: text/plain",), b"")
        yield Call(method, target, ("Content-Type: application/octet-stream",), bytes(range(256)))
        yield Call(method, target, JSON, chunks=(b'{"chu', b'nked": ', b"true}"))
        yield Call(method, target, MULTIPART, chunks=tuple(_pieces(MULTIPART_BODY, 100)))
        yield Call(method, target, ("Expect: 100-continue", *JSON), b"{}")
    yield Call(methods[0], target, ("Content-Type: text/plain",), b"0123456789abcdef" * 16_384)
    yield Call(methods[0], target, chunks=(b"0123456789abcdef" * 4096,) * 4)


def reads(*targets: str | Call) -> Iterator[Call]:
    """Each target with GET, HEAD and OPTIONS; a Call gives further headers."""
    return each(READS, *targets)


def each(methods: Iterable[str], *targets: str | Call) -> Iterator[Call]:
    for target in targets:
        call = Call("GET", target) if isinstance(target, str) else target
        for method in methods:
            body = b"x=1" if method in ("POST", "PUT", "PATCH") else None
            more = FORM if body is not None else ()
            yield Call(method, call.target, (*call.headers, *more), body)


def get(target: str, *headers: str) -> Call:
    return Call("GET", target, headers)


def digest(target: str, qop: str, algorithm: str, password: str = "secret") -> Call:
    """An authorised request; httpbin takes any nonce."""

    def h(text: str) -> str:
        name = {"SHA-256": "sha256", "SHA-512": "sha512"}.get(algorithm, "md5")
        return hashlib.new(name, text.encode()).hexdigest()

    first = h(f"ann:me@kennethreitz.com:{password}")
    second = h(f"GET:{target}" + (f":{h('')}" if qop == "auth-int" else ""))
    response = h(f"{first}:abc:00000001:xyz:{qop}:{second}")
    fields = (
        f'username="ann", realm="me@kennethreitz.com", nonce="abc", uri="{target}", qop={qop}, '
        f'nc=00000001, cnonce="xyz", algorithm={algorithm}, response="{response}", opaque="q"'
    )
    return get(target, f"Authorization: Digest {fields}", "Cookie: fake=fake_value; stale_after=2")


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


BASIC = "Authorization: Basic " + base64.b64encode(b"ann:secret").decode()
CORS = ("Origin: http://elsewhere.example", "Access-Control-Request-Headers: x-one, x-two")
# 1xx is no final answer; it has a test of its own.
STATUSES = (
    *(200, 201, 202, 203, 204, 205, 206, 207, 226, 299, 300, 301, 302, 303, 304, 305, 307, 308),
    *(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417),
    *(418, 421, 422, 424, 425, 426, 428, 429, 431, 451, 499),
    *(500, 501, 502, 503, 504, 505, 507, 511, 599),
)

CALLS: dict[str, list[Call]] = {
    "/": [*reads("/", "/?a=b")],
    "/static/<path:filename>": [
        *reads("/static/favicon.ico", "/static/none.css"),
        get("/static/favicon.ico", "Range: bytes=0-9"),
    ],
    "/html": [*reads("/html", get("/html", "Accept-Encoding: gzip, br"))],
    "/robots.txt": [*reads("/robots.txt")],
    "/deny": [*reads("/deny")],
    "/ip": [*reads("/ip")],
    "/uuid": [*reads("/uuid")],
    "/headers": [
        *reads(
            "/headers",
            "/headers?show_env=1",
            get("/headers", "X-Twice: a", "X-Twice: b", "x-LoWeR: C", "X-Empty:", "X-Latin: \xe9"),
            get("/headers", "Cookie: a=b; c=d", "User-Agent: one two", "Accept: */*;q=0.1"),
        )
    ],
    "/user-agent": [*reads(get("/user-agent", "User-Agent: Bänyan/1 (x; y)"))],
    "/get": [
        *reads("/get", "/get?a=1&a=2&b=%20%2F&c=%C3%A9&show_env=1", get("/get?x=/../y", *CORS)),
        get("/get?" + "q" * 3000),
    ],
    "/anything": [*each(EVERY, "/anything?a=b"), *bodies("POST", "PUT", target="/anything")],
    "/anything/<path:anything>": [
        *each(EVERY, "/anything/a/b;c=d/e%20f%2Fg?h=%00&i"),
        *reads("/anything/%E2%9C%93", "/anything/a//b", "/anything/~user/(x)'*!$&,=:@"),
    ],
    "/post": [*bodies("POST", target="/post?a=b"), Call("OPTIONS", "/post", CORS)],
    "/put": [*bodies("PUT", target="/put"), Call("OPTIONS", "/put")],
    "/patch": [*bodies("PATCH", target="/patch"), Call("OPTIONS", "/patch")],
    "/delete": [*bodies("DELETE", target="/delete"), *each(("DELETE", "OPTIONS"), "/delete?a")],
    "/gzip": [*reads("/gzip")],
    "/deflate": [*reads("/deflate")],
    "/brotli": [*reads("/brotli")],
    "/redirect/<int:n>": [*reads("/redirect/1", "/redirect/3", "/redirect/3?absolute=true")],
    "/redirect-to": [
        *each(EVERY, "/redirect-to?url=http%3A%2F%2Felsewhere.example%2Fa%3Fb%3D1"),
        *each(EVERY, "/redirect-to?url=%2Frelative&status_code=307"),
    ],
    "/relative-redirect/<int:n>": [*reads("/relative-redirect/1", "/relative-redirect/2")],
    "/absolute-redirect/<int:n>": [*reads("/absolute-redirect/1", "/absolute-redirect/2")],
    "/stream/<int:n>": [*reads("/stream/0", "/stream/3?a=b", "/stream/100")],
    "/status/<codes>": [
        *(get(f"/status/{status}") for status in STATUSES),
        *(Call("HEAD", f"/status/{status}") for status in (200, 204, 206, 301, 304, 404, 500)),
        *each(EVERY, "/status/418", "/status/204", "/status/503", "/status/200:1"),
        *reads("/status/none", "/status/304"),
    ],
    "/response-headers": [
        *each((*READS, "POST"), "/response-headers?X-One=1&X-One=2&x-low=a%20b&ETag=%22x%22"),
        *reads("/response-headers?Set-Cookie=a%3Db&Set-Cookie=c%3Dd&Cache-Control=no-store"),
        *reads("/response-headers?Content-Type=text%2Fplain%3B+charset%3DUTF-8&Server=mine"),
        *reads("/response-headers?Content-Language=de&Vary=Accept&Retry-After=3&Link=%3C/%3E"),
    ],
    "/cookies": [*reads("/cookies", get("/cookies", "Cookie: a=b; c=\"d e\"; __utma=1"))],
    "/cookies/set": [*reads("/cookies/set?a=b&c=d%20e", "/cookies/set")],
    "/cookies/set/<name>/<value>": [*reads("/cookies/set/a/b", "/cookies/set/a/%22%3B%C3%A9")],
    "/cookies/delete": [*reads("/cookies/delete?a&c", get("/cookies/delete?a=", "Cookie: a=b"))],
    "/forms/post": [*reads("/forms/post")],
    "/basic-auth/<user>/<passwd>": [
        *reads("/basic-auth/ann/secret", get("/basic-auth/ann/secret", BASIC)),
        get("/basic-auth/bob/secret", BASIC),
    ],
    "/hidden-basic-auth/<user>/<passwd>": [
        *reads("/hidden-basic-auth/ann/secret", get("/hidden-basic-auth/ann/secret", BASIC))
    ],
    "/bearer": [*reads("/bearer", get("/bearer", "Authorization: Bearer abc.def"))],
    "/digest-auth/<qop>/<user>/<passwd>": [
        *reads("/digest-auth/auth/ann/secret"),
        digest("/digest-auth/auth/ann/secret", "auth", "MD5"),
        digest("/digest-auth/auth/ann/secret", "auth", "MD5", "wrong"),
    ],
    "/digest-auth/<qop>/<user>/<passwd>/<algorithm>": [
        *reads(
            "/digest-auth/auth-int/ann/secret/SHA-256",
            digest("/digest-auth/auth-int/ann/secret/SHA-256", "auth-int", "SHA-256"),
        )
    ],
    "/digest-auth/<qop>/<user>/<passwd>/<algorithm>/<stale_after>": [
        *reads(
            "/digest-auth/auth/ann/secret/SHA-512/1?require-cookie=true",
            digest("/digest-auth/auth/ann/secret/SHA-512/1", "auth", "SHA-512"),
        )
    ],
    "/delay/<delay>": [*each(EVERY, "/delay/0.05"), get("/delay/0.3")],
    "/drip": [
        *reads("/drip?duration=0.05&numbytes=5", "/drip?duration=0&numbytes=0"),
        get("/drip?duration=0.02&numbytes=2&delay=0.1&code=500"),
        get("/drip?duration=0.01&numbytes=2&code=201"),
    ],
    "/base64/<value>": [*reads("/base64/SFRUUEJJTiBpcyBhd2Vzb21l", "/base64/4pyT", "/base64/%25")],
    "/cache": [
        *reads("/cache", get("/cache", "If-None-Match: x")),
        get("/cache", "If-Modified-Since: Sat, 01 Jan 2022 00:00:00 GMT"),
    ],
    "/cache/<int:value>": [*reads("/cache/60")],
    "/etag/<etag>": [
        *reads("/etag/abc", get("/etag/abc", 'If-None-Match: "abc"')),
        get("/etag/abc", 'If-None-Match: "other", W/"abc"'),
        get("/etag/abc", "If-None-Match: *"),
        get("/etag/abc", 'If-Match: "other"'),
        get("/etag/abc", 'If-Match: "abc"'),
    ],
    "/encoding/utf8": [*reads("/encoding/utf8")],
    "/bytes/<int:n>": [
        *reads("/bytes/0?seed=1", "/bytes/1024?seed=7"),
        get("/bytes/102400?seed=3"),
    ],
    "/stream-bytes/<int:n>": [
        *reads("/stream-bytes/0?seed=1", "/stream-bytes/5000?seed=7&chunk_size=333"),
        get("/stream-bytes/102400?seed=3"),
    ],
    "/range/<int:numbytes>": [
        *reads("/range/1024", get("/range/1024", "Range: bytes=10-19"), "/range/0"),
        get("/range/1024", "Range: bytes=1000-"),
        get("/range/1024", "Range: bytes=-24"),
        get("/range/1024", "Range: bytes=2000-3000"),
        get("/range/2600?duration=0.05&chunk_size=100"),
        get("/range/102400"),
    ],
    "/links/<int:n>": [*reads("/links/3")],
    "/links/<int:n>/<int:offset>": [*reads("/links/10/2")],
    "/image": [
        *reads("/image", get("/image", "Accept: image/webp"), get("/image", "Accept: image/jpeg")),
        get("/image", "Accept: image/svg+xml"),
        get("/image", "Accept: text/html"),
    ],
    "/image/png": [*reads("/image/png")],
    "/image/jpeg": [*reads("/image/jpeg")],
    "/image/webp": [*reads("/image/webp")],
    "/image/svg": [*reads("/image/svg")],
    "/xml": [*reads("/xml")],
    "/json": [*reads("/json")],
}  # fmt: skip

ECHOING = frozenset(
    {
        *("/headers", "/get", "/anything", "/anything/<path:anything>"),
        *("/post", "/put", "/patch", "/delete", "/gzip", "/deflate", "/brotli"),
        *("/stream/<int:n>", "/delay/<delay>", "/cache", "/cache/<int:value>", "/etag/<etag>"),
    }
)
