"""What is wrong or unwise in a configuration file: one Finding a line, and the table of codes.

Rules: a finding says where (file, line, column, key path), what is legal and a way out. An error
refuses the file, a warning does not. A finding is one line of printable text, whatever the file
holds. The severity of a code is decided here and nowhere else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]

# Findings of one code beyond this many are counted in a last line, not listed.
LISTED_PER_CODE = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong (error) or unwise (warning). Lines and columns count from 1."""

    file: str
    line: int
    column: int
    severity: Severity
    code: str
    key_path: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.severity} {self.code}: {self.text}"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the file, counted from 1."""

    line: int = 1
    column: int = 1


# code: (severity, what it means). `docs/configuration.md` has the same codes with their way out.
CODES: dict[str, tuple[Severity, str]] = {
    # The file as text and as YAML.
    "UNREADABLE": ("error", "the file is missing, too large, empty, no file, or not UTF-8"),
    "SYNTAX": ("error", "the file is not YAML"),
    "TOO_DEEP": ("error", "values are nested too deep"),
    "TOO_MANY_NODES": ("error", "too many values once aliases are expanded"),
    "TAG": ("error", "a YAML tag"),
    "BAD_KEY": ("error", "a key that is not text, or a merge key"),
    "DUPLICATE_KEY": ("error", "a key twice in one mapping"),
    "ENVIRONMENT": ("error", "${NAME} of a variable that is not set"),
    # Keys and values, one by one.
    "UNKNOWN_KEY": ("error", "a key that does not exist"),
    "MISSING_KEY": ("error", "a key that is needed"),
    "BAD_VALUE": ("error", "a value of the wrong type or form"),
    "BAD_ROUTE_KEY": ("error", "a route key that is not [METHOD[,METHOD] ][host]/path"),
    # What does not fit together.
    "DUPLICATE_ROUTE": ("error", "two routes that take the same requests"),
    "DUPLICATE_NAME": ("error", "two routes of one name"),
    "UNKNOWN_BACKEND": ("error", "a side names a backend that is not in backends"),
    "BAD_REWRITE": ("error", "a rewrite that does not fit the route's path"),
    "BAD_STICKY": ("error", "a sticky parameter that the route's path does not have"),
    "BAD_LADDER": ("error", "an advance that cannot be climbed"),
    "BAD_FILE": ("error", "a certificate, key or CA that cannot be used"),
    "ADMIN_EXPOSED": ("error", "the admin API off loopback without access control"),
    "LISTEN_CLASH": ("error", "proxy and admin API on one address"),
    "BACKEND_LOOP": ("error", "a backend that is this proxy"),
    # Unwise, or not as it seems.
    "NOT_ACTIVE": ("warning", "a legal key that is not acted on yet"),
    "SPLIT_METHODS": ("warning", "reads and writes of one path on different routes"),
    "SPLIT_WRITES": ("warning", "writes: split is right only on one database"),
    "PHASE_SKIPPED": ("warning", "an edit or a ladder that leaves out a phase"),
    "LATCHED": ("warning", "a reverted route whose edit does not lift the latch"),
    "MISSED_WRITES": ("warning", "an edit toward a side that has missed writes"),
    "UNSAFE_SAFE_METHOD": ("warning", "a read that likely changes something is sent twice"),
    "CANNOT_FIRE": ("warning", "a threshold that can never be reached"),
    "NOTHING_SHADOWED": ("warning", "a phase that shadows, with nothing to shadow"),
    "NO_COMPARATOR": ("warning", "a comparator of your own that cannot be imported"),
    "STICKY_BEHIND_PROXY": ("warning", "client-ip where all clients have one address"),
    "SAME_BACKEND": ("warning", "both sides are one system"),
    "SHADOWED_ROUTE": ("warning", "a route that loses requests to one with a longer path"),
    "ACK_TIMEOUT": ("warning", "ack_timeout beyond the backend's own timeout"),
    "READ_YOUR_WRITES": ("warning", "ack: authoritative while new answers reads"),
    "FALLBACK_NEVER": ("warning", "fallback_after beyond the backend's own timeout"),
    "REWRITE_COLLAPSES": ("warning", "a rewrite that sends all paths of a /* route to one"),
    "SHADOW_STARVES": ("warning", "shadows may take every connection that clients need"),
    "LIMITS_TOO_LOW": ("warning", "a limit that refuses most requests"),
    "MEMORY": ("warning", "bounds that allow very much memory"),
    "OVERRIDE_OPEN": ("warning", "anyone may choose the side"),
    "TRUST_EVERYONE": ("warning", "X-Forwarded-* believed from everywhere"),
    "PLAINTEXT": ("warning", "unencrypted over a public network"),
    "TLS_UNVERIFIED": ("warning", "any certificate of the backend is accepted"),
    "TLS_UNUSED": ("warning", "tls of a backend without an https address"),
    "UNUSED_BACKEND": ("warning", "a backend that no route uses"),
    "UNGUARDED_ADVANCE": ("warning", "a ladder with nothing that would go back"),
    "RESTART_NEEDED": ("warning", "an edit that takes effect only after a restart"),
}


def finding(code: str, file: str, position: Position, key_path: str, text: str) -> Finding:
    """A finding with the severity of its code, its text made printable and one line."""
    return Finding(
        file=one_line(file),
        line=position.line,
        column=position.column,
        severity=CODES[code][0],
        code=code,
        key_path=one_line(key_path),
        text=one_line(text),
    )


def bounded(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """In the order of the file, errors and warnings mixed, at most LISTED_PER_CODE of a code."""
    kept: list[Finding] = []
    seen: dict[str, int] = {}
    last: dict[str, Finding] = {}
    for each in sorted(findings, key=lambda f: (f.line, f.column, f.code, f.key_path)):
        count = seen[each.code] = seen.get(each.code, 0) + 1
        if count <= LISTED_PER_CODE:
            kept.append(each)
        last[each.code] = each
    for code, count in seen.items():
        if count > LISTED_PER_CODE:
            rest = count - LISTED_PER_CODE
            at = last[code]
            kept.append(
                finding(code, at.file, Position(at.line, at.column), "", f"and {rest} more like it")
            )
    return tuple(kept)


def one_line(text: str) -> str:
    """The text with every character that could break a line or a terminal escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
