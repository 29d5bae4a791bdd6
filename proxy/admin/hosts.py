"""Which Host headers the admin API answers, and the header by which its answers are known.

A page in the operator's browser can make its own name resolve to a loopback address and then read
what is served there (DNS rebinding). It cannot make the browser send another Host than that name,
so only names that nobody else controls are answered.
"""

import ipaddress
import re

# In each answer: that of a server in its place, or of a backend behind the proxy, has none.
ADMIN_HEADER = "Banyan-Admin"
ADMIN_VERSION = "v1"

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::[0-9]{1,5})?")


def host_allowed(header: str | None, listen_host: str | None) -> bool:
    """Whether to answer a request with this Host header.

    `listen_host` is what the API listens on, None for a Unix socket. (1) Without a Host there is
    no browser. (2) `localhost` and loopback addresses always pass, and so does `listen_host`.
    (3) Listening on every address, any address literal passes: rebinding needs a name.
    """
    if header is None:
        return True
    if not (parts := _HOST.fullmatch(header.strip())):
        return False
    host = parts[1].strip("[]").lower().removesuffix(".")
    if host == "localhost" or (listen_host is not None and host == listen_host.lower()):
        return True
    address = _address(host)
    if address is None:
        return False
    listening = _address(listen_host) if listen_host else None
    return address.is_loopback or (listening is not None and listening.is_unspecified)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
