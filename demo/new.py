"""The new shop's storage, designed in one piece: prices as numbers, `name`, lines as rows."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.stock import ORDERS, PRODUCTS, USERS

SCHEMA = """
CREATE TABLE IF NOT EXISTS products (
    seq INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, name TEXT NOT NULL,
    cents INTEGER NOT NULL, stock INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, city TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL, state TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS order_lines (
    order_id TEXT NOT NULL REFERENCES orders ON DELETE CASCADE, position INTEGER NOT NULL,
    product_id TEXT NOT NULL, quantity INTEGER NOT NULL, PRIMARY KEY (order_id, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS orders_of_user ON orders (user_id);
"""


class NewStorage:
    """Answers in the new shop's words. One connection, used by one event loop."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON;"
            + SCHEMA
        )
        if not self._db.execute("SELECT 1 FROM products LIMIT 1").fetchone():
            self._fill()

    def _fill(self) -> None:
        with self._db:
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT INTO products (id, name, cents, stock) VALUES (?, ?, ?, ?)",
                [(p.id, p.name, p.cents, p.stock) for p in PRODUCTS],
            )
            self._db.executemany(
                "INSERT INTO users VALUES (?, ?, ?, ?)",
                [(u.id, u.name, u.email, u.city) for u in USERS],
            )
            for order in ORDERS:
                self._insert(order.id, order.user, order.state, order.lines)

    def _insert(self, id: str, user: str, state: str, lines: tuple[tuple[str, int], ...]) -> None:
        self._db.execute("DELETE FROM orders WHERE id = ?", (id,))
        self._db.execute("INSERT INTO orders VALUES (?, ?, ?)", (id, user, state))
        self._db.executemany(
            "INSERT INTO order_lines VALUES (?, ?, ?, ?)",
            [(id, position, *line) for position, line in enumerate(lines)],
        )

    def close(self) -> None:
        self._db.close()

    def products(self, page: int, size: int) -> list[dict[str, Any]]:
        rows = self._db.execute(
            "SELECT id, name, cents FROM products ORDER BY seq LIMIT ? OFFSET ?",
            (size, (page - 1) * size),
        )
        return [{"id": id, "name": name, "price": cents / 100} for id, name, cents in rows]

    def product(self, id: str) -> dict[str, Any] | None:
        row = self._db.execute("SELECT name, cents FROM products WHERE id = ?", (id,)).fetchone()
        return {"id": id, "name": row[0], "price": row[1] / 100} if row else None

    def stock(self, id: str) -> dict[str, Any] | None:
        row = self._db.execute("SELECT stock FROM products WHERE id = ?", (id,)).fetchone()
        return {"product": id, "stock": row[0]} if row else None

    def search(self, words: list[str], limit: int) -> list[dict[str, Any]]:
        """Products whose name has every word, in alphabetical order: nicer, and not the same."""
        clauses = " AND ".join("name LIKE ?" for _ in words) or "1"
        rows = self._db.execute(
            f"SELECT id, name FROM products WHERE {clauses} ORDER BY name LIMIT ?",
            (*(f"%{word}%" for word in words), limit),
        )
        return [{"id": id, "name": name} for id, name in rows]

    def user(self, id: str) -> dict[str, Any] | None:
        row = self._db.execute("SELECT name, email, city FROM users WHERE id = ?", (id,)).fetchone()
        return {"id": id, "name": row[0], "email": row[1], "city": row[2]} if row else None

    def put_user(self, id: str, sent: Mapping[str, Any]) -> None:
        """Old clients send `fullName` and are still understood."""
        name = sent.get("name", sent.get("fullName", ""))
        self._db.execute(
            "INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?)",
            (id, name, sent.get("email", ""), sent.get("city", "")),
        )

    def delete_user(self, id: str) -> bool:
        return self._db.execute("DELETE FROM users WHERE id = ?", (id,)).rowcount > 0

    def orders(self, user: str, limit: int) -> list[dict[str, Any]]:
        rows = self._db.execute(
            "SELECT id FROM orders WHERE user_id = ? ORDER BY id LIMIT ?", (user, limit)
        ).fetchall()
        return [order for (id,) in rows if (order := self.order(id))]

    def order(self, id: str) -> dict[str, Any] | None:
        row = self._db.execute("SELECT user_id, state FROM orders WHERE id = ?", (id,)).fetchone()
        if not row:
            return None
        lines = self._db.execute(
            "SELECT product_id, quantity FROM order_lines WHERE order_id = ? ORDER BY position",
            (id,),
        )
        return {
            "id": id,
            "user": row[0],
            "lines": [{"product": product, "quantity": quantity} for product, quantity in lines],
            "state": row[1],
        }

    def put_order(self, id: str, sent: Mapping[str, Any]) -> None:
        lines = tuple((line["product"], line["quantity"]) for line in sent["lines"])
        with self._db:
            self._db.execute("BEGIN")
            self._insert(id, sent["user"], sent.get("state", "open"), lines)

    def delete_order(self, id: str) -> bool:
        return self._db.execute("DELETE FROM orders WHERE id = ?", (id,)).rowcount > 0

    def report(self) -> dict[str, Any]:
        """Orders by state, from an index."""
        rows = self._db.execute("SELECT state, count(*) FROM orders GROUP BY state ORDER BY 1")
        return {"orders": dict(rows.fetchall())}
