"""What to say about a YAML syntax error: the reason, and the quotes that are likely missing."""

import re

# Characters that mean something to YAML at the start of a value, and what an author meant.
_SPECIAL = "{[*&!%@`|>,"
_VALUE = re.compile(r"^(?P<before>\s*(?:- +)*(?:[^\s#'\"][^#]*?: +)?)(?P<value>\S.*?)\s*$")


def advice(text: str, line: int, column: int, reason: str) -> str:
    """One sentence for the error at a place counted from 0, with a suggestion where one is due."""
    lines = text.splitlines()
    here = lines[line] if line < len(lines) else ""
    if "\t" in here[: column + 1] and not here[:column].strip(" \t-"):
        return "a tab indents this line; YAML allows only spaces there"
    if "found undefined alias" in reason or "alias" in reason:
        return f"{_quoted(here, column)} ({reason}: * begins an alias)"
    if "anchor" in reason and "&" in here:
        return f"{_quoted(here, column)} ({reason}: & begins an anchor)"
    if "cannot start any token" in reason:
        return f"{_quoted(here, column)} ({here[column : column + 1]} cannot begin plain text)"
    if "quoted scalar" in reason:
        return f"the quotes that open here are not closed ({reason})"
    if "mapping values are not allowed" in reason:
        return _second_colon(here, reason)
    if (suggestion := _line_suggestion(lines, line)) is not None:
        return f"{suggestion} ({reason})"
    return f"this is not YAML: {reason}; check the indentation and the quotes"


def _quoted(here: str, column: int) -> str:
    """`put it in quotes`, with the value from its first character on."""
    value = _without_comment(here[column:])
    return f"put the value in quotes: {_in_quotes(value)}" if value else "put the value in quotes"


def _second_colon(here: str, reason: str) -> str:
    found = re.match(r"\s*(?:- +)*([^:]+): +(.*)$", here)
    value = _without_comment(found[2]) if found else ""
    if value and ": " in value + " ":
        return f"a second colon: put the value in quotes: {found and found[1].strip()}: " + (
            _in_quotes(value)
        )
    return f"this is not YAML: {reason}; is the line above indented as it should be?"


def _line_suggestion(lines: list[str], line: int) -> str | None:
    """Quotes around a value of this line or the one before that begins with a special character."""
    for at in (line, line - 1):
        if not 0 <= at < len(lines):
            continue
        found = _VALUE.match(lines[at])
        if found and found["value"][0] in _SPECIAL:
            value = _without_comment(found["value"])
            where = "" if at == line else f" in line {at + 1}"
            return f"put the value{where} in quotes: {found['before'].strip()} {_in_quotes(value)}"
        flow = re.search(r"\$?\{[A-Za-z_]\w*\}", lines[at])
        if flow and re.search(r"[\[{,]\s*[^\s\"']*" + re.escape(flow[0]), lines[at]):
            return f"put the text that holds {flow[0]} in quotes"
    return None


def _in_quotes(value: str) -> str:
    if '"' in value or "\\" in value:
        return "'" + value.replace("'", "''") + "'"
    return f'"{value}"'


def _without_comment(value: str) -> str:
    value = re.split(r"\s#", value, maxsplit=1)[0].strip()
    return value if len(value) <= 60 else ""
