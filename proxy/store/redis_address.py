"""The URL of a Redis, looked at before it is used: what may be said of it, and what must not.

A password with an `@`, `/`, `?` or `#` of its own moves the borders of a URL, and a part of it
would be shown as a host or a path. So what is not plainly of the form is refused, and not shown.
"""

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from proxy.store.state import StoreError

_OPTIONS: Final = {"db", "username", "password"}
_TLS_OPTIONS: Final = {
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "ssl_password",
}
_FORM: Final = (
    "the URL of the Redis is not of the form redis://user:password@host:port/number, rediss://... "
    "or unix://user:password@/path?db=number, of which only the host or the path must be there; "
    "in a name or a password, write all but letters and digits as %XX"
)


def shown_address(url: str) -> str:
    """The URL without names, passwords and options. Raises StoreError, which does not show it."""
    try:
        parts = urlsplit(url)
        wrong = parts.port == 0  # ValueError where it is no number
        options = dict(parse_qsl(parts.query, strict_parsing=True) if parts.query else ())
    except ValueError:
        raise StoreError(_FORM) from None
    server = parts.netloc.rpartition("@")[2]
    if parts.scheme == "unix":
        wrong |= bool(server) or not parts.path.strip("/")
    else:
        wrong |= parts.scheme not in ("redis", "rediss") or not parts.hostname
        wrong |= not re.fullmatch("(/[0-9]*)?", parts.path)
    allowed = _OPTIONS | (_TLS_OPTIONS if parts.scheme == "rediss" else set())
    wrong |= not options.keys() <= allowed or not re.fullmatch("[0-9]+", options.get("db", "0"))
    wrong |= url.count("@") > 1 or url.count("@") != parts.netloc.count("@") or "#" in url
    if wrong:
        raise StoreError(_FORM)
    return f"{parts.scheme}://{server}{parts.path}"
