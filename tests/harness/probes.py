"""Requests that must be refused: every framing trick known, as exact bytes.

One corpus for two uses: the head grammar is asked about each `head`, and a running worker is sent
each `raw` (with a second request hidden behind it) and must refuse it, close, and tell no backend.
Sources: RFC 9112 §11.2, the request smuggling papers (CL.TE, TE.CL, TE.TE, CL.0, 0.CL), the test
suites of h11, llhttp and nginx.
"""

from typing import NamedTuple


class Probe(NamedTuple):
    """One request that is refused with `status`, for the reason `code`."""

    name: str
    raw: bytes
    status: int
    code: str

    @property
    def head(self) -> bytes:
        """The head as a server cuts it: up to the first empty line, or everything."""
        at = self.raw.find(b"\r\n\r\n")
        return self.raw if at < 0 else self.raw[: at + 4]


def _post(lines: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n" + body


def _lengths() -> list[Probe]:
    values = {
        "plus": b"+5",
        "minus": b"-5",
        "hexadecimal": b"0x5",
        "hexadecimal digits": b"5f",
        "underscore": b"1_0",
        "inner space": b"5 5",
        "list": b"5, 5",
        "list that differs": b"5, 6",
        "list with an empty member": b"5,",
        "fraction": b"5.0",
        "exponent": b"5e0",
        "empty": b"",
        "white space only": b" \t ",
        "quoted": b'"5"',
        "semicolon": b"5;a=b",
        "just above the bound": b"1" * 19,
        "above 64 bits": b"18446744073709551621",
        "a thousand digits": b"9" * 1000,
        "a thousand zeros": b"0" * 1000,
        "Arabic-Indic digits": b"\xd9\xa5",
        "superscript in Latin-1": b"\xb2",
        "no-break space": b"\xa05",
        "word": b"five",
    }
    probes = [
        Probe(
            f"Content-Length: {name}",
            _post(b"Content-Length: %b\r\n" % value, b"aaaaa"),
            400,
            "content_length",
        )
        for name, value in values.items()
    ]
    twice = {
        "same": b"Content-Length: 5\r\nContent-Length: 5\r\n",
        "different": b"Content-Length: 5\r\nContent-Length: 0\r\n",
        "in other case": b"Content-Length: 5\r\ncontent-LENGTH: 6\r\n",
        "apart": b"Content-Length: 5\r\nA: b\r\nContent-Length: 6\r\n",
        "one empty": b"Content-Length: 5\r\nContent-Length:\r\n",
    }
    probes += [
        Probe(f"two Content-Lengths, {name}", _post(lines, b"aaaaa"), 400, "duplicate_header")
        for name, lines in twice.items()
    ]
    return probes


def _codings() -> list[Probe]:
    chunked = b"5\r\naaaaa\r\n0\r\n\r\n"
    both = {
        "CL.TE": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "TE.CL": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "CL.TE with zero": b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "CL.TE in odd case": b"content-length: 6\r\ntransfer-ENCODING: CHUNKED\r\n",
        "CL.TE with an unknown coding": b"Content-Length: 6\r\nTransfer-Encoding: xchunked\r\n",
        "CL.TE with identity": b"Content-Length: 6\r\nTransfer-Encoding: identity\r\n",
        "CL.TE with an empty coding": b"Content-Length: 6\r\nTransfer-Encoding:\r\n",
        "CL.TE with a bad length": b"Content-Length: +6\r\nTransfer-Encoding: chunked\r\n",
    }
    probes = [
        Probe(f"both framings, {name}", _post(lines, chunked), 400, "ambiguous_framing")
        for name, lines in both.items()
    ]
    unknown = {
        "xchunked": b"xchunked",
        "gzip": b"gzip",
        "identity": b"identity",
        "chunked, gzip": b"chunked, gzip",
        "chunked, identity": b"chunked, identity",
        "chunked, chunked": b"chunked, chunked",
        "comma before": b", chunked",
        "comma behind": b"chunked,",
        "quoted": b'"chunked"',
        "single quoted": b"'chunked'",
        "parameter": b"chunked;q=1",
        "colon": b": chunked",
        "empty": b"",
        "trailing word": b"chunked x",
        "high byte behind": b"chunked\xff",
        "no-break space": b"\xa0chunked",
        "cow": b"cow",
        "chunk": b"chunk",
    }
    probes += [
        Probe(
            f"Transfer-Encoding: {name}",
            _post(b"Transfer-Encoding: %b\r\n" % value, chunked),
            400,
            "transfer_coding",
        )
        for name, value in unknown.items()
    ]
    probes += [
        Probe(
            "Transfer-Encoding: gzip, chunked",
            _post(b"Transfer-Encoding: gzip, chunked\r\n", chunked),
            501,
            "transfer_coding",
        ),
        Probe(
            "two Transfer-Encodings, same",
            _post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunked),
            400, "duplicate_header",
        ),
        Probe(
            "two Transfer-Encodings, TE.TE",
            _post(b"Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n", chunked),
            400, "duplicate_header",
        ),
        Probe(
            "two Transfer-Encodings, identity first",
            _post(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", chunked),
            400, "duplicate_header",
        ),
        *(
            Probe(
                f"Transfer-Encoding with a tab {where}",
                _post(b"Transfer-Encoding:%b\r\n" % value, chunked),
                400,
                "ambiguous_framing",
            )
            for where, value in {
                "before": b"\tchunked",
                "behind": b" chunked\t",
                "inside": b" chun\tked",
                "behind another": b" cow\t",
            }.items()
        ),
        Probe(
            "chunked in HTTP/1.0",
            b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
            400, "ambiguous_framing",
        ),
    ]  # fmt: skip
    return probes


def _lines() -> list[Probe]:
    hidden = b"Transfer-Encoding: chunked"
    table: list[tuple[str, bytes, str]] = [
        ("obs-fold with a space", b"A: b\r\n c\r\n", "obs_fold"),
        ("obs-fold with a tab", b"A: b\r\n\tc\r\n", "obs_fold"),
        ("obs-fold hiding a coding", b"A: b\r\n %b\r\n" % hidden, "obs_fold"),
        ("obs-fold of a coding", b"Transfer-Encoding:\r\n chunked\r\n", "obs_fold"),
        ("obs-fold of white space only", b"A: b\r\n \r\n", "obs_fold"),
        ("vertical tab starts a line", b"A: b\r\n\x0b%b\r\n" % hidden, "header_name"),
        ("space before the colon", b"Transfer-Encoding : chunked\r\n", "header_name"),
        ("tab before the colon", b"Transfer-Encoding\t: chunked\r\n", "header_name"),
        ("space in a name", b"Transfer Encoding: chunked\r\n", "header_name"),
        ("no colon", b"Transfer-Encoding chunked\r\n", "header_name"),
        ("a bare word", b"chunked\r\n", "header_name"),
        ("empty name", b": chunked\r\n", "header_name"),
        ("NUL in a name", b"Transfer-Encoding\0: chunked\r\n", "header_name"),
        ("NUL before a name", b"\0Transfer-Encoding: chunked\r\n", "header_name"),
        ("vertical tab in a name", b"Transfer-Encoding\x0b: chunked\r\n", "header_name"),
        ("backspace in a name", b"X\x08Y: z\r\n", "header_name"),
        ("DEL in a name", b"X\x7fY: z\r\n", "header_name"),
        ("high byte in a name", b"X\xffY: z\r\n", "header_name"),
        ("slash in a name", b"X/Y: z\r\n", "header_name"),
        ("brackets in a name", b"X[Y]: z\r\n", "header_name"),
        ("parentheses in a name", b"X(Y): z\r\n", "header_name"),
        ("quote in a name", b'X"Y: z\r\n', "header_name"),
        ("comma in a name", b"X,Y: z\r\n", "header_name"),
        ("NUL in a value", b"A: b\0c\r\n", "header_value"),
        ("NUL behind chunked", b"Transfer-Encoding: chunked\0\r\n", "header_value"),
        ("vertical tab before chunked", b"Transfer-Encoding: \x0bchunked\r\n", "header_value"),
        ("form feed before chunked", b"Transfer-Encoding: \x0cchunked\r\n", "header_value"),
        ("form feed before a length", b"Content-Length: \x0c5\r\n", "header_value"),
        ("escape in a value", b"A: \x1b[31m\r\n", "header_value"),
        ("DEL in a value", b"A: \x7f\r\n", "header_value"),
        ("unit separator in a value", b"A: \x1f\r\n", "header_value"),
        ("bare LF ends a line", b"A: b\n%b\r\n" % hidden, "line_ending"),
        ("bare LF ends the last line", b"A: b\n", "line_ending"),
        ("bare CR in a value", b"A: b\r%b\r\n" % hidden, "line_ending"),
        ("bare CR in a name", b"A\rB: c\r\n", "line_ending"),
        ("CR CR LF", b"A: b\r\r\n", "line_ending"),
        ("LF CR", b"A: b\n\r%b\r\n" % hidden, "line_ending"),
    ]
    return [
        Probe(name, _post(lines, b"0\r\n\r\n"), 400, code) for name, lines, code in table
    ] + [
        Probe(
            "space before the first header", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400,
            "obs_fold",
        ),
        Probe(
            "tab before the first header", b"GET / HTTP/1.1\r\n\tA: b\r\nHost: a\r\n\r\n", 400,
            "obs_fold",
        ),
    ]  # fmt: skip


def _hosts() -> list[Probe]:
    values = {
        "space": b"a b",
        "tab": b"a\tb",
        "slash": b"a/b",
        "userinfo": b"user@a",
        "scheme": b"http://a",
        "question mark": b"a?b",
        "fragment": b"a#b",
        "backslash": b"a\\b",
        "two ports": b"a:1:2",
        "a port of letters": b"a:b",
        "a port with a sign": b"a:+80",
        "a port of six digits": b"a:100000",
        "an open bracket": b"[::1",
        "brackets behind a name": b"a[::1]",
        "a name in brackets": b"[example]",
        "empty brackets": b"[]",
        "high byte": b"\xe4.example",
        "angle brackets": b"<a>",
        "quoted": b'"a"',
        "pipe": b"a|b",
    }
    probes = [
        Probe(f"Host with {name}", b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % value, 400, "host")
        for name, value in values.items()
    ]
    return [
        *probes,
        Probe("no Host", b"GET / HTTP/1.1\r\n\r\n", 400, "host"),
        Probe("no Host beside others", b"GET / HTTP/1.1\r\nA: b\r\n\r\n", 400, "host"),
        Probe("X-Host only", b"GET / HTTP/1.1\r\nX-Host: a\r\n\r\n", 400, "host"),
        Probe(
            "no Host beside an absolute target", b"GET http://a/ HTTP/1.1\r\n\r\n", 400, "host"
        ),
        Probe(
            "two Hosts, different", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400,
            "duplicate_header",
        ),
        Probe(
            "two Hosts, same", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400,
            "duplicate_header",
        ),
        Probe(
            "two Hosts in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400,
            "duplicate_header",
        ),
        Probe("bad Host in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", 400, "host"),
    ]  # fmt: skip


def _request_lines() -> list[Probe]:
    lines = {
        "HTTP/0.9 without version": (b"GET /", 400),
        "HTTP/0.9 with a space": (b"GET / ", 400),
        "no target": (b"GET HTTP/1.1", 400),
        "no target, two spaces": (b"GET  HTTP/1.1", 400),
        "two spaces before the target": (b"GET  / HTTP/1.1", 400),
        "two spaces behind the target": (b"GET /  HTTP/1.1", 400),
        "tabs": (b"GET\t/\tHTTP/1.1", 400),
        "vertical tab": (b"GET\x0b/ HTTP/1.1", 400),
        "form feed": (b"GET /\x0cHTTP/1.1", 400),
        "leading space": (b" GET / HTTP/1.1", 400),
        "trailing space": (b"GET / HTTP/1.1 ", 400),
        "trailing tab": (b"GET / HTTP/1.1\t", 400),
        "trailing word": (b"GET / HTTP/1.1 x", 400),
        "space in the target": (b"GET /a b HTTP/1.1", 400),
        "smuggled version": (b"GET / HTTP/1.1 HTTP/1.1", 400),
        "NUL in the target": (b"GET /\0 HTTP/1.1", 400),
        "control in the target": (b"GET /\x01 HTTP/1.1", 400),
        "DEL in the target": (b"GET /\x7f HTTP/1.1", 400),
        "high byte in the target": (b"GET /\xff HTTP/1.1", 400),
        "UTF-8 in the target": ("GET /ä HTTP/1.1".encode(), 400),
        "CR in the target": (b"GET /\rX HTTP/1.1", 400),
        "CR behind the version": (b"GET / HTTP/1.1\r", 400),
        "NUL in the method": (b"GE\0T / HTTP/1.1", 400),
        "colon in the method": (b"GET: / HTTP/1.1", 400),
        "bracket in the method": (b"G(T / HTTP/1.1", 400),
        "high byte in the method": (b"G\xffT / HTTP/1.1", 400),
        "lower-case version": (b"GET / http/1.1", 400),
        "mixed-case version": (b"GET / Http/1.1", 400),
        "no slash in the version": (b"GET / HTTP1.1", 400),
        "version of one number": (b"GET / HTTP/1", 400),
        "version of three numbers": (b"GET / HTTP/1.1.1", 400),
        "version with leading zeros": (b"GET / HTTP/01.1", 400),
        "version with two digits": (b"GET / HTTP/1.10", 400),
        "version with a sign": (b"GET / HTTP/+1.1", 400),
        "version with a comma": (b"GET / HTTP/1,1", 400),
        "another protocol": (b"GET / ICE/1.0", 400),
        "a longer protocol": (b"GET / XHTTP/1.1", 400),
        "HTTP/1.2": (b"GET / HTTP/1.2", 505),
        "HTTP/1.9": (b"GET / HTTP/1.9", 505),
        "HTTP/0.9 in words": (b"GET / HTTP/0.9", 505),
        "HTTP/2.0": (b"GET / HTTP/2.0", 505),
        "HTTP/3.0": (b"GET / HTTP/3.0", 505),
        "HTTP/9.9": (b"GET / HTTP/9.9", 505),
    }
    probes = [
        Probe(
            f"request line: {name}",
            line + b"\r\nHost: a\r\n\r\n",
            status,
            "version" if status == 505 else "request_line",
        )
        for name, (line, status) in lines.items()
    ]
    return [
        *probes,
        Probe("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version"),
        Probe(
            "TLS on the plain port",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32 + b"\r\n\r\n",
            400, "request_line",
        ),
        Probe("bare LF ends the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400,
              "request_line"),
        Probe(
            "101 headers",
            b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 100 + b"\r\n",
            431, "too_many_headers",
        ),
    ]  # fmt: skip


HEADS: tuple[Probe, ...] = (
    *_lengths(),
    *_codings(),
    *_lines(),
    *_hosts(),
    *_request_lines(),
)


class BodyProbe(NamedTuple):
    """A chunked body that must be refused."""

    name: str
    body: bytes


BODIES: tuple[BodyProbe, ...] = tuple(
    BodyProbe(name, body)
    for name, body in {
        "size with a plus": b"+5\r\naaaaa\r\n0\r\n\r\n",
        "size with a minus": b"-5\r\naaaaa\r\n0\r\n\r\n",
        "minus zero": b"-0\r\n\r\n",
        "size with 0x": b"0x5\r\naaaaa\r\n0\r\n\r\n",
        "size with an underscore": b"1_0\r\naaaaaaaaaaaaaaaa\r\n0\r\n\r\n",
        "leading space": b" 5\r\naaaaa\r\n0\r\n\r\n",
        "leading tab": b"\t5\r\naaaaa\r\n0\r\n\r\n",
        "trailing space": b"5 \r\naaaaa\r\n0\r\n\r\n",
        "trailing tab": b"5\t\r\naaaaa\r\n0\r\n\r\n",
        "inner space": b"1 0\r\naaaaaaaaaaaaaaaa\r\n0\r\n\r\n",
        "no size": b"\r\naaaaa\r\n0\r\n\r\n",
        "only an extension": b";a=b\r\naaaaa\r\n0\r\n\r\n",
        "not hexadecimal": b"g\r\naaaaa\r\n0\r\n\r\n",
        "hexadecimal with h": b"5h\r\naaaaa\r\n0\r\n\r\n",
        "fraction": b"5.0\r\naaaaa\r\n0\r\n\r\n",
        "16 digits": b"0000000000000005\r\naaaaa\r\n0\r\n\r\n",
        "64 bits of ones": b"ffffffffffffffff\r\naaaaa\r\n0\r\n\r\n",
        "wraps 64 bits": b"10000000000000005\r\naaaaa\r\n0\r\n\r\n",
        "a thousand zeros": b"0" * 1000 + b"\r\n\r\n",
        "NUL behind the size": b"5\0\r\naaaaa\r\n0\r\n\r\n",
        "NUL before the size": b"\0005\r\naaaaa\r\n0\r\n\r\n",
        "high byte behind the size": b"5\xff\r\naaaaa\r\n0\r\n\r\n",
        "size ended by LF": b"5\naaaaa\r\n0\r\n\r\n",
        "size ended by CR": b"5\raaaaa\r\n0\r\n\r\n",
        "size ended by CR CR LF": b"5\r\r\naaaaa\r\n0\r\n\r\n",
        "extension with LF": b"5;a\nb\r\naaaaa\r\n0\r\n\r\n",
        "extension with CR": b"5;a\rb\r\naaaaa\r\n0\r\n\r\n",
        "extension ended by LF": b"5;a\naaaaa\r\n0\r\n\r\n",
        "extension with NUL": b"5;a\0\r\naaaaa\r\n0\r\n\r\n",
        "extension with DEL": b"5;\x7f\r\naaaaa\r\n0\r\n\r\n",
        "extension without semicolon": b"5 a=b\r\naaaaa\r\n0\r\n\r\n",
        "comma for a semicolon": b"5,a\r\naaaaa\r\n0\r\n\r\n",
        "an extension of 5 KB": b"5;" + b"a" * 5000 + b"\r\naaaaa\r\n0\r\n\r\n",
        "extensions of 100 bytes, 1000 times": (b"1;" + b"a" * 100 + b"\r\nb\r\n") * 1000
        + b"0\r\n\r\n",
        "no CRLF behind the data": b"5\r\naaaaa0\r\n\r\n",
        "LF behind the data": b"5\r\naaaaa\n0\r\n\r\n",
        "CR behind the data": b"5\r\naaaaa\r0\r\n\r\n",
        "LF CR behind the data": b"5\r\naaaaa\n\r0\r\n\r\n",
        "space behind the data": b"5\r\naaaaa \r\n0\r\n\r\n",
        "more data than said": b"3\r\naaaaa\r\n0\r\n\r\n",
        "an empty line between chunks": b"5\r\naaaaa\r\n\r\n0\r\n\r\n",
        "last chunk ended by LF": b"0\n\r\n",
        "all LF": b"5\naaaaa\n0\n\n",
        "end ended by LF": b"5\r\naaaaa\r\n0\r\n\nGET / HTTP/1.1\r\n\r\n",
        "trailer without colon": b"0\r\nabc\r\n\r\n",
        "trailer without name": b"0\r\n: abc\r\n\r\n",
        "trailer with a space before the colon": b"0\r\nA : b\r\n\r\n",
        "trailer folded": b"0\r\nA: b\r\n c\r\n\r\n",
        "trailer starting with a space": b"0\r\n A: b\r\n\r\n",
        "trailer with NUL": b"0\r\nA: \0\r\n\r\n",
        "trailer with LF": b"0\r\nA: b\nC: d\r\n\r\n",
        "trailer with CR": b"0\r\nA: b\rC: d\r\n\r\n",
        "trailer is a request": b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "trailers of 70 KB": b"0\r\n" + b"A: bbbbbbbb\r\n" * 6000 + b"\r\n",
        "one trailer of 70 KB": b"0\r\nA: " + b"b" * 70000 + b"\r\n\r\n",
    }.items()
)
