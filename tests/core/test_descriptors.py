"""How descriptors are shared between clients and backends."""

import pytest

from proxy.core.descriptors import RESERVED, UNLIMITED, is_too_little, room
from proxy.core.model import Backend, Limits


def backends(*most: int) -> dict[str, Backend]:
    return {
        f"b{at}": Backend(f"b{at}", ("http://a",), max_connections=each)
        for at, each in enumerate(most)
    }


@pytest.mark.parametrize(
    ("descriptors", "most", "workers", "clients", "to_backends"),
    [
        (RESERVED + 900, [100, 200], 1, 600, [100, 200]),
        (RESERVED + 900, [100, 201], 2, 749, [50, 101]),
        (RESERVED + 900, [300, 300], 1, 300, [300, 300]),
        (RESERVED + 900, [300, 301], 1, 300, [299, 300]),
        (RESERVED + 90, [256, 256], 1, 30, [30, 30]),
        (RESERVED + 900, [], 4, 900, []),
        (0, [256], 1, 1, [1]),
        (RESERVED, [256, 1], 1, 1, [1, 1]),
        (-1, [256], 1, UNLIMITED - RESERVED - 256, [256]),
    ],
)
def test_backends_have_what_they_may_take_but_no_more_than_two_thirds(
    descriptors: int, most: list[int], workers: int, clients: int, to_backends: list[int]
) -> None:
    fits = room(descriptors, backends(*most), workers)
    assert (fits.clients, [*fits.backends.values()]) == (clients, to_backends)


@pytest.mark.parametrize(
    ("connections", "most", "workers", "is_short"),
    [
        (800, 100, 1, False),
        (801, 100, 1, True),
        (1700, 100, 2, False),
        (1701, 100, 2, True),
        (300, 600, 1, False),
        (300, 601, 1, True),
    ],
)
def test_what_is_promised_and_cannot_be_is_too_little(
    connections: int, most: int, workers: int, is_short: bool
) -> None:
    named = backends(most)
    fits = room(RESERVED + 900, named, workers)
    assert is_too_little(fits, Limits(connections=connections), named, workers) == is_short
