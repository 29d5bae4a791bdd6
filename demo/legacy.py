"""The legacy shop's storage, as it grew: prices as text, `fullName`, order lines in one column."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.stock import ORDERS, PRODUCTS, USERS

SCHEMA = """
CREATE TABLE IF NOT EXISTS product (id TEXT PRIMARY KEY, name TEXT, price TEXT, on_hand INTEGER);
CREATE TABLE IF NOT EXISTS customer (id TEXT PRIMARY KEY, full_name TEXT, email TEXT, city TEXT);
CREATE TABLE IF NOT EXISTS purchase (id TEXT PRIMARY KEY, customer TEXT, lines TEXT, state TEXT);
CREATE INDEX IF NOT EXISTS purchase_of_customer ON purchase (customer);
"""


class LegacyStorage:
    """Answers in the legacy shop's words. One connection, used by one event loop."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;" + SCHEMA)
        if not self._db.execute("SELECT 1 FROM product LIMIT 1").fetchone():
            self._fill()

    def _fill(self) -> None:
        with self._db:
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT INTO product VALUES (?, ?, ?, ?)",
                [(p.id, p.name, f"{p.cents / 100:.2f}", p.stock) for p in PRODUCTS],
            )
            self._db.executemany(
                "INSERT INTO customer VALUES (?, ?, ?, ?)",
                [(u.id, u.name, u.email, u.city) for u in USERS],
            )
            self._db.executemany(
                "INSERT INTO purchase VALUES (?, ?, ?, ?)",
                [(o.id, o.user, _packed(o.lines), o.state) for o in ORDERS],
            )

    def close(self) -> None:
        self._db.close()

    def products(self, page: int, size: int) -> list[dict[str, Any]]:
        rows = self._db.execute(
            "SELECT id, name, price FROM product ORDER BY rowid LIMIT ? OFFSET ?",
            (size, (page - 1) * size),
        )
        return [{"id": id, "name": name, "price": price} for id, name, price in rows]

    def product(self, id: str) -> dict[str, Any] | None:
        row = self._db.execute("SELECT name, price FROM product WHERE id = ?", (id,)).fetchone()
        return {"id": id, "name": row[0], "price": row[1]} if row else None

    def stock(self, id: str) -> dict[str, Any] | None:
        row = self._db.execute("SELECT on_hand FROM product WHERE id = ?", (id,)).fetchone()
        return {"product": id, "stock": row[0]} if row else None

    def search(self, words: list[str], limit: int) -> list[dict[str, Any]]:
        """Products whose name has every word, as they lie in the table."""
        clauses = " AND ".join("name LIKE ?" for _ in words) or "1"
        rows = self._db.execute(
            f"SELECT id, name FROM product WHERE {clauses} ORDER BY rowid LIMIT ?",
            (*(f"%{word}%" for word in words), limit),
        )
        return [{"id": id, "name": name} for id, name in rows]

    def user(self, id: str) -> dict[str, Any] | None:
        row = self._db.execute(
            "SELECT full_name, email, city FROM customer WHERE id = ?", (id,)
        ).fetchone()
        return {"id": id, "fullName": row[0], "email": row[1], "city": row[2]} if row else None

    def put_user(self, id: str, sent: Mapping[str, Any]) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO customer VALUES (?, ?, ?, ?)",
            (id, sent.get("fullName", ""), sent.get("email", ""), sent.get("city", "")),
        )

    def delete_user(self, id: str) -> bool:
        return self._db.execute("DELETE FROM customer WHERE id = ?", (id,)).rowcount > 0

    def orders(self, user: str, limit: int) -> list[dict[str, Any]]:
        rows = self._db.execute(
            "SELECT id, customer, lines, state FROM purchase WHERE customer = ?"
            " ORDER BY id LIMIT ?",
            (user, limit),
        )
        return [_order(*row) for row in rows]

    def order(self, id: str) -> dict[str, Any] | None:
        row = self._db.execute(
            "SELECT id, customer, lines, state FROM purchase WHERE id = ?", (id,)
        ).fetchone()
        return _order(*row) if row else None

    def put_order(self, id: str, sent: Mapping[str, Any]) -> None:
        lines = tuple((line["product"], line["quantity"]) for line in sent["lines"])
        self._db.execute(
            "INSERT OR REPLACE INTO purchase VALUES (?, ?, ?, ?)",
            (id, sent["user"], _packed(lines), sent.get("state", "open")),
        )

    def delete_order(self, id: str) -> bool:
        return self._db.execute("DELETE FROM purchase WHERE id = ?", (id,)).rowcount > 0

    def report(self) -> dict[str, Any]:
        """Orders by state, counted the way it always was."""
        rows = self._db.execute("SELECT state, count(*) FROM purchase GROUP BY state ORDER BY 1")
        return {"orders": dict(rows.fetchall())}


def _packed(lines: tuple[tuple[str, int], ...]) -> str:
    return ",".join(f"{product}x{quantity}" for product, quantity in lines)


def _order(id: str, customer: str, packed: str, state: str) -> dict[str, Any]:
    lines = [line.rsplit("x", 1) for line in packed.split(",") if line]
    return {
        "id": id,
        "user": customer,
        "lines": [{"product": product, "quantity": int(count)} for product, count in lines],
        "state": state,
    }
