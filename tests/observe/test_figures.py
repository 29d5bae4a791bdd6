"""Figures stay short and never round to a lie."""

import pytest

from proxy.observe import figures


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (1000, "1.0k"),
        (1234, "1.2k"),
        (9949, "9.9k"),
        (9960, "10k"),
        (45000, "45k"),
        (999400, "999k"),
        (999600, "1.0M"),
        (7 * 10**9, "7.0G"),
        (5 * 10**12, "5000G"),
    ],
)
def test_count(number: int, text: str) -> None:
    assert figures.count(number) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (0, "0"),
        (0.003, "0.01"),
        (0.05, "0.05"),
        (0.5, "0.5"),
        (9.9, "9.9"),
        (9.96, "10"),
        (45.4, "45"),
        (1234.5, "1.2k"),
    ],
)
def test_rate(per_second: float, text: str) -> None:
    assert figures.rate(per_second) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0%"), (0.001, "<1%"), (0.5, "50%"), (0.995, ">99%"), (1, "100%")],
)
def test_share(value: float | None, text: str) -> None:
    assert figures.share(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.351, "0.35"),
        (0.997, "1.0"),
        (4.24, "4.2"),
        (9.96, "10"),
        (87.2, "87"),
        (999.4, "999"),
        (1234, "1.2s"),
        (12345, "12s"),
    ],
)
def test_milliseconds(value: float | None, text: str) -> None:
    assert figures.milliseconds(value) == text
