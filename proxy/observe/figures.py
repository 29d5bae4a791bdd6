"""Figures in few characters, the same for the command and the page; a dash where there are none."""

NONE = "-"


def count(number: int) -> str:
    """3 digits or so: 999, 1.2k, 45k, 1.3M."""
    value = float(number)
    for unit in ("", "k", "M", "G"):
        if value < 999.5 or unit == "G":
            break
        value /= 1000
    return f"{value:.1f}{unit}" if unit and value < 9.95 else f"{value:.0f}{unit}"


def rate(per_second: float) -> str:
    """Events a second: 0, 0.05, 3.2, 45, 1.2k."""
    if 0 < per_second < 0.095:
        return f"{max(per_second, 0.01):.2f}"
    if 0 < per_second < 9.95:
        return f"{per_second:.1f}"
    return count(round(per_second))


def share(value: float | None) -> str:
    """A share in per cent: 100% only if it is all, 0% only if it is nothing."""
    if value is None:
        return NONE
    percent = value * 100
    if 0 < percent < 1:
        return "<1%"
    if 99 < percent < 100:
        return ">99%"
    return f"{percent:.0f}%"


def milliseconds(value: float | None) -> str:
    """A latency: 0.35, 4.2, 87, 1.2s (the unit is milliseconds unless it says s)."""
    if value is None:
        return NONE
    if value < 0.995:
        return f"{value:.2f}"
    if value < 9.95:
        return f"{value:.1f}"
    if value < 999.5:
        return f"{value:.0f}"
    return f"{value / 1000:.1f}s" if value < 9950 else f"{value / 1000:.0f}s"
