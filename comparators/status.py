"""Status codes, exactly or by their class."""

from comparators.model import Difference, Kind


def compare_status(legacy: int, new: int, rule: str) -> tuple[Difference, ...]:
    """One difference, or none. By class, 200 equals 201."""
    if legacy == new or (rule == "class" and legacy // 100 == new // 100):
        return ()
    return (Difference("status", Kind.STATUS, legacy, new),)
