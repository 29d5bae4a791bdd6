"""The tables of the SQLite store of divergences, and what is read from them.

A divergence stays while it is a sample of one of its signatures (table `sample`), and until the
bounds of count, bytes and age reach it. Everything here runs in the store's thread.
"""

import math
import sqlite3
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from proxy.core.divergences import (
    Divergence,
    Page,
    SignatureNoise,
    SignatureSummary,
)
from proxy.store.database import Layout
from proxy.store.divergences import SHOWN_SAMPLES
from proxy.store.packing import unpacked

LOG_BYTES: Final = 8 << 20
NOT_YET = (-math.inf, -1)  # the place before all

SCHEMA: Final = """
CREATE TABLE divergence (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at REAL NOT NULL, route TEXT NOT NULL,
    bytes INTEGER NOT NULL, record BLOB NOT NULL, answers BLOB
) STRICT;
CREATE INDEX divergence_by_time ON divergence (at, seq, bytes);
CREATE INDEX divergence_of_route ON divergence (route, at, seq);
CREATE TABLE signature (
    key INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, route TEXT NOT NULL, path TEXT NOT NULL,
    kind TEXT NOT NULL, count INTEGER NOT NULL, noise INTEGER NOT NULL, first_at REAL NOT NULL,
    last_at REAL NOT NULL, passed INTEGER NOT NULL, kept INTEGER NOT NULL
) STRICT;
CREATE INDEX signature_of_route ON signature (route);
CREATE INDEX signature_by_time ON signature (last_at);
CREATE TABLE sample (
    key INTEGER NOT NULL, at REAL NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (key, at, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX sample_of_divergence ON sample (seq);
CREATE TABLE noise (route TEXT PRIMARY KEY, learned BLOB NOT NULL) STRICT;
"""
LAYOUT: Final = Layout(
    what="store of divergences",
    application_id=0x42414E44,  # "BAND"
    version=1,
    schema=SCHEMA,
    synchronous="NORMAL",
    checked=False,  # damage is found when it is reached: reading all of it would delay the start
    damage="It is moved aside and begun anew.",
)

Place = tuple[float, int]  # at and seq: the order of pages


class Held(NamedTuple):
    """How much there is."""

    divergences: int = 0
    size_bytes: int = 0


def cursor_of(place: Place) -> str:
    """The place as a cursor."""
    return f"{place[0]!r}_{place[1]}"


def place_of(cursor: str) -> Place:
    """The place that a cursor names. Raises ValueError."""
    at, _, seq = cursor.partition("_")
    if not seq.isascii() or not seq.isdigit() or len(seq) > 18:
        raise ValueError("this is no cursor of a page")
    if not math.isfinite(place := float(at)):
        raise ValueError("this is no cursor of a page")
    return place, int(seq)


def count(database: sqlite3.Connection) -> Held:
    """What is held now."""
    found = database.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM divergence").fetchone()
    return Held(*found)


def page(
    database: sqlite3.Connection,
    route: str | None,
    signature: str | None,
    oldest: float,
    limit: int,
    before: Place | None,
) -> Page:
    """The newest first, from behind the place `before`, none from before `oldest`."""
    table, where = "divergence", ["at >= :oldest"]
    if signature is not None:
        # The index of samples finds and orders them; the rest is looked up by `seq`.
        table = "sample"
        where.append("key = (SELECT key FROM signature WHERE text = :signature)")
        if route is not None:
            where.append("(SELECT route FROM signature WHERE text = :signature) = :route")
    elif route is not None:
        where.append("route = :route")
    if before is not None:
        where.append("(at, seq) < (:at, :seq)")
    at, seq = before or NOT_YET
    found = database.execute(
        f"SELECT d.record, p.at, p.seq FROM (SELECT at, seq FROM {table} WHERE "
        f"{' AND '.join(where)} ORDER BY at DESC, seq DESC LIMIT :limit) p "
        "JOIN divergence d ON d.seq = p.seq ORDER BY p.at DESC, p.seq DESC",
        {
            "route": route,
            "signature": signature,
            "oldest": oldest,
            "at": at,
            "seq": seq,
            "limit": limit + 1,
        },
    ).fetchall()
    shown = tuple(unpacked(record, None) for record, _, _ in found[:limit])
    more = len(found) > limit and limit > 0
    return Page(shown, cursor_of(found[limit - 1][1:]) if more else None)


def get(database: sqlite3.Connection, id: str) -> Divergence | None:
    """One, recorded answers included."""
    found = database.execute("SELECT record, answers FROM divergence WHERE id = ?", (id,))
    row = found.fetchone()
    return None if row is None else unpacked(*row)


def following(
    database: sqlite3.Connection, route: str | None, after: Place, limit: int
) -> list[tuple[Place, Divergence]]:
    """The oldest first, from behind the place `after`."""
    where = "" if route is None else "AND route = :route"
    found = database.execute(
        "SELECT at, seq, record, answers FROM divergence "
        f"WHERE (at, seq) > (:at, :seq) {where} ORDER BY at, seq LIMIT :limit",
        {"at": after[0], "seq": after[1], "route": route, "limit": limit},
    )
    return [((at, seq), unpacked(record, answers)) for at, seq, record, answers in found]


def signatures(
    database: sqlite3.Connection, route: str | None, oldest: float, limit: int | None
) -> list[SignatureSummary]:
    """Those last seen since `oldest`, the most counted first."""
    where = "" if route is None else "AND route = :route"
    found = database.execute(
        "SELECT key, text, route, path, kind, count, noise, first_at, last_at FROM signature "
        f"WHERE last_at >= :oldest {where} "
        "ORDER BY count DESC, noise DESC, text LIMIT :limit",
        {"route": route, "oldest": oldest, "limit": -1 if limit is None else limit},
    )
    return [_summary(database, row) for row in found.fetchall()]


def _summary(database: sqlite3.Connection, row: tuple[Any, ...]) -> SignatureSummary:
    key, text, route, path, kind, counted, noise, first_at, last_at = row
    samples = database.execute(
        "SELECT d.id FROM (SELECT at, seq FROM sample WHERE key = ? "
        "ORDER BY at DESC, seq DESC LIMIT ?) s JOIN divergence d ON d.seq = s.seq "
        "ORDER BY s.at DESC, s.seq DESC",
        (key, SHOWN_SAMPLES),
    )
    return SignatureSummary(
        text,
        route,
        path,
        kind,
        counted,
        SignatureNoise(0.0, 0, noise) if noise else None,
        first_at,
        last_at,
        tuple(id for (id,) in samples),
    )


def save_noise(database: sqlite3.Connection, routes: Iterable[tuple[str, bytes]]) -> None:
    """Keep what was learned, a row a route."""
    database.executemany("INSERT OR REPLACE INTO noise VALUES (?, ?)", routes)


def load_noise(database: sqlite3.Connection) -> dict[str, bytes]:
    """What `save_noise` kept."""
    return dict(database.execute("SELECT route, learned FROM noise"))


def forget(database: sqlite3.Connection, route: str) -> int:
    """Delete all of a route; how many divergences."""
    mine = "(SELECT key FROM signature WHERE route = ?)"
    database.execute(f"DELETE FROM sample WHERE key IN {mine}", (route,))
    database.execute("DELETE FROM signature WHERE route = ?", (route,))
    database.execute("DELETE FROM noise WHERE route = ?", (route,))
    return database.execute("DELETE FROM divergence WHERE route = ?", (route,)).rowcount
