"""A comparator of one's own: the receipts of the two shops, which are never the same twice.

What matters is the order on them, and that each has a number and a time that can be read. In
routes.yaml, with this directory's parent on the path (or the file beside routes.yaml):

    routes:
      /api/orders/{id}/receipt:
        phase: shadow-read
        compare: {with: "demo.receipts:compare_receipts"}

It runs in a process of its own beside the comparer. Rules with paths would do the same here
(`ignore: ["$.receipt", "$.printed_at"]`), but would not notice a time that is none.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from comparators import Answer, Difference, Kind, Rules


def compare_receipts(legacy: Answer, new: Answer, rules: Rules) -> Iterable[Difference]:
    """Whether both are receipts of the same order."""
    if legacy.status != new.status:
        yield Difference("status", Kind.STATUS, legacy.status, new.status)
        return
    one, other = orjson.loads(legacy.body), orjson.loads(new.body)
    if one.get("order") != other.get("order"):
        yield Difference("$.order", Kind.VALUE, one.get("order"), other.get("order"))
    for name, is_good in (("receipt", _is_number), ("printed_at", _is_time)):
        if is_good(one.get(name)) != is_good(other.get(name)):
            yield Difference(f"$.{name}", Kind.VALUE, one.get(name), other.get(name))


def _is_number(value: Any) -> bool:
    try:
        return bool(UUID(value))
    except (ValueError, AttributeError, TypeError):
        return False


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (ValueError, TypeError):
        return False
