"""Text of clients and backends for people to see: nothing in it steers a terminal or a page.

Control characters, escape sequences, characters that turn the direction of writing around, and
such as show nothing become their escapes; quoting for HTML or markup is the caller's.
"""


def plain(text: str, kept: str = "") -> str:
    """The text with what is not printable escaped, but for the characters in `kept`."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text
    )
