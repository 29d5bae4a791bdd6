"""One transaction's worth of divergences for the SQLite store.

What stays is decided in memory first, so that of a flood only what stays is ever written.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from proxy.core.divergences import Divergence, Seen
from proxy.store.divergence_rows import Held
from proxy.store.divergences import StoreBounds, other
from proxy.store.packing import packed
from proxy.store.reservoir import Reservoir

AGED_AT_ONCE: Final = 2000  # after a long stop very many are too old: the next additions go on


Mark = tuple[int, float]  # a sample of a signature: seq and at. Plain, since very many are read


class _Signature:
    """A signature that is added to: what is counted, and which samples come and go."""

    def __init__(self, key: int, reservoir: Reservoir[Mark]) -> None:
        self.key = key
        self.reservoir = reservoir
        self.come: set[Mark] = set()
        self.gone: list[Mark] = []
        self.count = 0
        self.noise = 0
        self.first_at = float("inf")
        self.last_at = float("-inf")

    def offer(self, mark: Mark, noise: bool) -> None:
        """Count it, and perhaps keep it."""
        self.count += not noise
        self.noise += noise
        self.first_at = min(self.first_at, mark[1])
        self.last_at = max(self.last_at, mark[1])
        self.come.add(mark)
        if (going := self.reservoir.offer(mark)) in self.come:
            self.come.remove(going)
        elif going is not None:
            self.gone.append(going)


class Addition:
    """Adds divergences within a transaction; `held` and `dropped` hold once it is committed."""

    def __init__(
        self,
        database: sqlite3.Connection,
        bounds: StoreBounds,
        held: Held,
        chance: Callable[[], float],
    ) -> None:
        self.held = held
        self.dropped: Counter[str] = Counter()
        self._database = database
        self._bounds = bounds
        self._chance = chance
        self._touched: dict[int, _Signature] = {}

    def add(self, divergences: Sequence[Divergence]) -> None:
        """Count these, and keep what its signatures have room for."""
        (last,) = self._database.execute("SELECT coalesce(max(seq), 0) FROM divergence").fetchone()
        new: dict[int, Divergence] = {}
        for seq, divergence in enumerate(self._unknown(divergences), start=last + 1):
            new[seq] = divergence
            seen = divergence.seen() or (other(divergence.route, divergence.result == "noise"),)
            # Several beyond the bound are one signature, and noise only if all of them are.
            counts: dict[int, bool] = {}
            for each in seen:
                found = self._signature(divergence.route, each, divergence.at)
                counts[found.key] = counts.get(found.key, True) and each.noise
                self._touched[found.key] = found
            for key, noise in counts.items():
                self._touched[key].offer((seq, divergence.at), noise)
        self._write(new)

    def keep_bounds(self, now: float) -> None:
        """Let the oldest go where there is too much, or where they are too old."""
        too_old = now - self._bounds.age_s
        self._drop("age", self._oldest("WHERE at < ?", too_old, AGED_AT_ONCE))
        self._database.execute("DELETE FROM signature WHERE last_at < ?", (too_old,))
        if (excess := self.held.divergences - self._bounds.count) > 0:
            self._drop("count", self._oldest("WHERE at >= ?", float("-inf"), excess))
        while self.held.size_bytes > self._bounds.size_bytes:
            excess, going = self.held.size_bytes - self._bounds.size_bytes, []
            for seq, size in self._oldest("WHERE at >= ?", float("-inf"), 100):
                if excess <= 0:
                    break
                going.append((seq, size))
                excess -= size
            self._drop("bytes", going)

    def _unknown(self, divergences: Sequence[Divergence]) -> Iterable[Divergence]:
        """Each once: a caller that could not know whether a call did it may add again."""
        for divergence in {each.id: each for each in divergences}.values():
            known = self._database.execute(
                "SELECT 1 FROM divergence WHERE id = ?", (divergence.id,)
            )
            if known.fetchone() is None:
                yield divergence

    def _signature(self, route: str, seen: Seen, at: float) -> _Signature:
        """What there is of it; a new one where there is none and the route has room for it."""
        row = self._database.execute(
            "SELECT key, passed, kept FROM signature WHERE text = ?", (seen.signature,)
        ).fetchone()
        if row is None:
            instead = other(route, seen.noise)
            if seen.signature != instead.signature and self._is_full(route):
                return self._signature(route, instead, at)
            key = self._database.execute(
                "INSERT INTO signature VALUES (NULL, ?, ?, ?, ?, 0, 0, ?, ?, 0, 0)",
                (seen.signature, route, seen.path, seen.kind, at, at),
            ).lastrowid
            assert key is not None
            row = key, 0, 0
        key, passed, kept = row
        if key in self._touched:
            return self._touched[key]
        marks: list[Mark] = self._database.execute(
            "SELECT seq, at FROM sample WHERE key = ? ORDER BY at, seq", (key,)
        ).fetchall()
        size = self._bounds.samples_a_signature
        return _Signature(key, Reservoir(size, marks, passed, kept, self._chance))

    def _is_full(self, route: str) -> bool:
        (of_route,) = self._database.execute(
            "SELECT count(*) FROM signature WHERE route = ?", (route,)
        ).fetchone()
        if of_route >= self._bounds.signatures_a_route:
            return True
        (of_all,) = self._database.execute("SELECT count(*) FROM signature").fetchone()
        return bool(of_all >= self._bounds.signatures)

    def _write(self, new: dict[int, Divergence]) -> None:
        staying: set[int] = set()
        pushed_out: set[int] = set()
        for each in self._touched.values():
            staying.update(seq for seq, _ in each.come)
            pushed_out.update(seq for seq, _ in each.gone)
            self._database.executemany(
                "INSERT INTO sample VALUES (?, ?, ?)",
                [(each.key, at, seq) for seq, at in each.come],
            )
            self._database.executemany(
                "DELETE FROM sample WHERE key = ? AND at = ? AND seq = ?",
                [(each.key, at, seq) for seq, at in each.gone],
            )
        self._database.executemany(
            "UPDATE signature SET count = count + ?, noise = noise + ?, first_at = "
            "min(first_at, ?), last_at = max(last_at, ?), passed = ?, kept = ? WHERE key = ?",
            [
                (
                    *(each.count, each.noise, each.first_at, each.last_at),
                    *(each.reservoir.passed, each.reservoir.kept, each.key),
                )
                for each in self._touched.values()
            ],
        )
        self._count_dropped("reservoir", len(new) - len(staying))
        self._insert({seq: new[seq] for seq in sorted(staying)})
        self._drop("reservoir", self._orphans(pushed_out))

    def _insert(self, new: dict[int, Divergence]) -> None:
        size_bytes = 0
        for seq, each in new.items():
            record, answers = packed(each, self._bounds.size_bytes)
            size = len(record) + len(answers or b"")
            size_bytes += size
            self._database.execute(
                "INSERT INTO divergence VALUES (?, ?, ?, ?, ?, ?, ?)",
                (seq, each.id, each.at, each.route, size, record, answers),
            )
        self.held = Held(self.held.divergences + len(new), self.held.size_bytes + size_bytes)

    def _orphans(self, seqs: Iterable[int]) -> list[tuple[int, int]]:
        """Those that are no signature's sample any more, with their sizes."""
        found = []
        for seq in seqs:
            row = self._database.execute(
                "SELECT seq, bytes FROM divergence WHERE seq = ? "
                "AND NOT EXISTS (SELECT 1 FROM sample WHERE sample.seq = divergence.seq)",
                (seq,),
            ).fetchone()
            if row:
                found.append(row)
        return found

    def _oldest(self, where: str, at: float, limit: int) -> list[tuple[int, int]]:
        return self._database.execute(
            f"SELECT seq, bytes FROM divergence {where} ORDER BY at, seq LIMIT ?", (at, limit)
        ).fetchall()

    def _drop(self, reason: str, going: Sequence[tuple[int, int]]) -> None:
        seqs = [(seq,) for seq, _ in going]
        self._database.executemany("DELETE FROM sample WHERE seq = ?", seqs)
        self._database.executemany("DELETE FROM divergence WHERE seq = ?", seqs)
        size_bytes = self.held.size_bytes - sum(size for _, size in going)
        self.held = Held(self.held.divergences - len(going), size_bytes)
        self._count_dropped(reason, len(going))

    def _count_dropped(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] += count
