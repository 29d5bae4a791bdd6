"""What to say about a YAML syntax error: the reason, and the quotes that are likely missing."""

import re

# The patterns below are quadratic at worst; no line that a person wrote is longer.
LOOKED_AT = 500

# Characters that mean something to YAML at the start of a value, and what an author meant.
_SPECIAL = "{[*&!%@`|>,"
_VALUE = re.compile(r"^(?P<before>\s*(?:- +)*(?:[^\s#'\"][^#]*?: +)?)(?P<value>\S.*?)\s*$")

# Plain text with {name} or ${NAME} in it, as it stands inside [ ] or { }.
_BRACED = re.compile(r"[^\s,\[{}\"':]*(?:\$?\{[A-Za-z_]\w*\}[^\s,\]\"'{}]*)+")


def advice(text: str, line: int, column: int, reason: str) -> str:
    """One sentence for the error at a place counted from 0, with a suggestion where one is due."""
    lines = text.splitlines()
    lines = [each[:LOOKED_AT] for each in lines[max(line - 1, 0) : line + 1]]
    line = min(line, 1)
    here = lines[line] if line < len(lines) else ""
    if "\t" in here[: column + 1] and not here[:column].strip(" \t-"):
        return "a tab indents this line; YAML allows only spaces there"
    if "second document" in reason:
        return reason
    for what, sign in (("an alias", "*"), ("undefined alias", "*"), ("an anchor", "&")):
        if what in reason:
            kind = what.split()[1]
            return f"{_quoted(here, column)} ({reason}: {sign} begins an {kind} in YAML)"
    if "cannot start any token" in reason:
        return f"{_quoted(here, column)} ({here[column : column + 1]} cannot begin plain text)"
    if "quoted scalar" in reason:
        return f"the quotes that open here are not closed ({reason})"
    if "mapping values are not allowed" in reason:
        return _second_colon(here, reason)
    for at in (line, line - 1):
        if 0 <= at < len(lines) and (suggestion := _suggestion(lines[at])) is not None:
            where = "" if at == line else " in the line before"
            return f"put the text{where} in quotes: {suggestion} ({reason})"
    return f"this is not YAML: {reason}; check the indentation, colons and quotes around here"


def _quoted(here: str, column: int) -> str:
    """`put it in quotes`, with the key or value from its first character on."""
    text = _without_comment(here[column:])
    key, colon, value = text.partition(": ")
    if colon:
        return f"put the key in quotes: {_in_quotes(key)}: {value}"
    return f"put the text in quotes: {_in_quotes(text)}" if text else "put the text in quotes"


def _second_colon(here: str, reason: str) -> str:
    found = re.match(r"\s*(?:- +)*([^:]+): +(.*)$", here)
    value = _without_comment(found[2]) if found else ""
    if found and ": " in value + " ":
        return f"a second colon: put the value in quotes: {found[1].strip()}: {_in_quotes(value)}"
    return f"this is not YAML: {reason}; is the line above indented as it should be?"


def _suggestion(here: str) -> str | None:
    """What to write instead of text with braces in a list or mapping, or of a special beginning."""
    for found in _BRACED.finditer(here):
        before = here[: found.start()]
        if any(opening in before for opening in ("{", "[")):
            return _in_quotes(found[0])
    line = _VALUE.match(here)
    if not line or line["value"][0] not in _SPECIAL or _is_closed(line["value"]):
        return None
    value = _without_comment(line["value"])
    return f"{line['before'].strip()} {_in_quotes(value)}".strip() if value else None


def _is_closed(value: str) -> bool:
    """Whether it is a list or mapping as a whole, so that the trouble is elsewhere."""
    return any(value.startswith(o) and value.endswith(c) for o, c in ("{}", "[]"))


def _in_quotes(value: str) -> str:
    if '"' in value or "\\" in value:
        return "'" + value.replace("'", "''") + "'"
    return f'"{value}"'


def _without_comment(value: str) -> str:
    value = re.split(r"\s#", value, maxsplit=1)[0].strip()
    return value if len(value) <= 60 else ""
