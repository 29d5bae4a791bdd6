"""What to say about a YAML syntax error: the reason, and the quotes that are likely missing."""

import re

# The patterns below are quadratic at worst; no line that a person wrote is longer.
LOOKED_AT = 500

# Characters that mean something to YAML at the start of a value, and what an author meant.
_SPECIAL = "{[*&!%@`|>,"
_VALUE = re.compile(r"^(?P<before>\s*(?:- +)*(?:[^\s#'\"][^#]*?: +)?)(?P<value>\S.*?)\s*$")

# Plain text with {name} or ${NAME} in it, as it stands inside [ ] or { }.
_BRACED = re.compile(r"[^\s,\[{}\"':]*(?:\$?\{[A-Za-z_]\w*\}[^\s,\]\"'{}]*)+")


# A key with its value, or an item with its dash, that YAML takes for one text.
_NO_SPACE = re.compile(
    r"^(?P<indent>\s*(?:- +)*)"
    r"(?:(?P<key>[^\s:#'\"{}\[\],&*!|>%@`][^:#'\"]*):(?!//)[^\s:].*|-[^\s-].*)$"
)
# Of `alerts`: what may be a secret even where it is wrong. Errors are logged, and told to webhooks.
SECRET_KEYS = ("url", "secret")
# In these texts no space ever follows the colon.
_PREFIX = re.compile(r"^(cookie|header|param): +")


def missing_space(text: str, line: int, is_here: bool) -> tuple[int, int, str] | None:
    """Line and column (from 1) of a key without a space behind its colon, and what to write.

    `line`, from 0, is where YAML gave up. Unless it `is_here`, the text before it is looked at.
    """
    lines = text.splitlines()[: line + 1]
    at = line if is_here else line - 1
    while not is_here and at > 0 and not lines[at].strip():
        at -= 1
    if not 0 <= at < len(lines) or ": " in lines[at] or lines[at].rstrip().endswith(":"):
        return None
    found = _NO_SPACE.match(lines[at][:LOOKED_AT])
    if found is None:
        return None
    column = len(found["indent"]) + 1
    # The value is not told: it may be a secret, and errors are logged.
    behind = "the dash" if found["key"] is None else f"{found['key']}:"
    return at + 1, column, f"a space is missing behind {behind}"


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
    if "did not find expected ','" in reason and here[column : column + 2] in (":", ": "):
        return _second_colon_in_flow(here, column)
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
        return _value_in_quotes(found[1].strip(), value)
    return f"this is not YAML: {reason}; is the line above indented as it should be?"


def _second_colon_in_flow(here: str, column: int) -> str:
    """Of `{key: value: x}` or `[value: x: y]`, with the colon at which YAML gave up."""
    start = max(here.rfind(sign, 0, column) for sign in "{[,") + 1
    ends = [end for sign in "}],#" if (end := here.find(sign, column)) >= 0]
    whole = here[start : min(ends, default=len(here))].strip()
    key, colon, value = whole.partition(": ")
    if not colon or here[start - 1 : start] == "[" or ": " not in f"{value} ":
        return f"a second colon: put the text in quotes: {_in_quotes(whole)}"
    return _value_in_quotes(key, value)


def _value_in_quotes(key: str, value: str) -> str:
    value = '"..."' if key in SECRET_KEYS else _in_quotes(value)
    return f"a second colon: put the value in quotes: {key}: {value}"


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
    value = _PREFIX.sub(r"\1:", value)
    if '"' in value or "\\" in value:
        return "'" + value.replace("'", "''") + "'"
    return f'"{value}"'


def _without_comment(value: str) -> str:
    value = re.split(r"\s#", value, maxsplit=1)[0].strip()
    return value if len(value) <= 60 else ""
