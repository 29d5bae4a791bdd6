"""How many clients fit beside the connections to backends."""

import pytest

from proxy.core.descriptors import RESERVED, UNLIMITED, client_room, too_few
from proxy.core.model import Backend, Limits


def backends(*most: int) -> list[Backend]:
    return [Backend(f"b{at}", ("http://a",), max_connections=each) for at, each in enumerate(most)]


@pytest.mark.parametrize(
    ("descriptors", "most", "workers", "room"),
    [
        (RESERVED + 1000, [100, 200], 1, 700),
        (RESERVED + 1000, [100, 201], 2, 849),
        (RESERVED + 1000, [256, 256], 1, 500),
        (RESERVED + 1000, [], 4, 1000),
        (0, [256], 1, 1),
        (RESERVED, [256], 1, 1),
        (-1, [256], 1, UNLIMITED - RESERVED - 256),
    ],
)
def test_backends_are_promised_theirs_but_no_more_than_half(
    descriptors: int, most: list[int], workers: int, room: int
) -> None:
    assert client_room(descriptors, backends(*most), workers) == room


@pytest.mark.parametrize(
    ("connections", "workers", "few"),
    [(900, 1, None), (901, 1, 900), (1900, 2, None), (10**6, 2, 1900)],
)
def test_only_what_is_promised_and_cannot_be_is_too_few(
    connections: int, workers: int, few: int | None
) -> None:
    limits = Limits(connections=connections)
    assert too_few(RESERVED + 1000, limits, backends(100), workers) == few
