"""The answers of the backends."""

import json
from typing import Final

SMALL_BYTES: Final = 200


def differing_document(size: int, side: str, number: int = 0) -> bytes:
    """A JSON list of orders of about that size: a timestamp an item and one price differ.

    Those of another `number` have other names and times.
    """
    moment = f"2026-01-01T00:00:{number:02}.{'123456' if side == 'legacy' else '654321'}Z"
    items: list[dict[str, object]] = []
    length = 0
    while length < size:
        price = 20.01 if side == "new" and len(items) == 7 else 19.99
        order = 10_000 * (number + 1) + len(items)
        item = {"id": order, "name": f"item {order}", "price": price, "at": moment}
        length += len(json.dumps(item))
        items.append(item)
    return json.dumps({"items": items}).encode()


def json_document(size: int) -> bytes:
    """A JSON list of orders of exactly that many bytes."""
    items: list[dict[str, object]] = []
    padding = '{"items":[],"note":""}'
    while True:
        item = {"id": 1000 + len(items), "name": f"item {len(items)}", "price": 19.99, "qty": 2}
        grown = json.dumps({"items": [*items, item], "note": ""}, separators=(",", ":"))
        if len(grown) > size:
            break
        items.append(item)
        padding = grown
    return padding.replace('"note":""', f'"note":"{"." * (size - len(padding))}"').encode()
