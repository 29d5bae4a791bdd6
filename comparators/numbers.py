"""Numbers that have a checksum: of cards (Luhn, and the issuers' first digits), IBAN, French NIR.

A card has neighbours in real texts: when it expires, its code, an amount, a name that is glued to
it. So it is looked for in every row of digits, from each group of them on, however they are
separated; what stands beside other groups has to be grouped as cards are, four digits or more.
"""

import re
from collections.abc import Sequence
from typing import Final

_SEPARATOR: Final = (
    "(?:[ \t\u00a0\u2007\u2009\u202f+\u2010-\u2013-]|%(?:20|2[BD]|C2%A0)|&(?:nbsp|#160|#xa0|#32);"
    r"|\\u(?:00[aA]0|202[fF]|2009))"
)
# What is encoded is passed over: its digits are none of a number.
_ROW = re.compile(
    rf"%[0-9A-Fa-f]{{2}}|\\u[0-9A-Fa-f]{{4}}"
    rf"|(?P<row>[0-9]++(?:(?:\.|{_SEPARATOR}{{1,3}})[0-9]++)*+)"
)
_GROUP = re.compile(rf"(?P<dot>\.)?(?P<digits>[0-9]++)(?:{_SEPARATOR}{{1,3}})?")
_FEWEST: Final = 13  # digits of a card or person
_MOST: Final = 19
_ISSUERS = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|(?:5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720)[0-9]{12,14}"
    r"|3[47][0-9]{13}|(?:6011|64[4-9]|65)[0-9]{12,15}|35(?:2[89]|[3-8])[0-9]{12,16}"
    r"|3(?:0[0-5]|[689])[0-9]{11,16}|62[0-9]{14,17}|(?:50|5[6-9]|6[0-9])[0-9]{11,17}"
)
_LUHN: Final = str.maketrans("0123456789", "0246813579")
_NIR_GROUPS: Final = [1, 2, 2, 2, 3, 3, 2]
_NIR_DIGITS: Final = 15

# How long an IBAN is, by its country.
_IBAN_LENGTHS: Final = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FO FI GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        33: "RU",
    }.items()
    for country in countries.split()
}
_IBAN = re.compile(
    rf"(?i:(?:(?<![A-Z0-9])|(?<=%[0-9A-F]{{2}}))(?:{'|'.join(_IBAN_LENGTHS)})[0-9]{{2}}"
    r"(?:(?:[ \u00a0-]|%20)?[A-Z0-9]){11,30})"
)
_IBAN_CHARACTER = re.compile(r"(?:%20)?([A-Za-z0-9])")


_PIECE = re.compile(r"[A-Z]{0,2}[0-9](?:[ \u00a0-]?[0-9])*+")
_MOST_PIECES: Final = 20


def is_piece(text: str) -> bool:
    """Whether a text may be a piece of such a number."""
    return len(text) <= _MOST_PIECES and _PIECE.fullmatch(text) is not None


def is_number(pieces: Sequence[str]) -> bool:
    """Whether some texts together are one of these numbers, and nothing else."""
    if not 1 < len(pieces) <= _MOST_PIECES:
        return False
    text = "".join(pieces)
    return (0, len(text)) in number_spans(text)


def number_spans(text: str) -> list[tuple[int, int]]:
    """Where such numbers stand in a text, in no order."""
    spans = []
    for found in _ROW.finditer(text):
        begin, end = found.span("row")
        if end - begin >= _FEWEST:
            spans += _in_row(text, begin, end)
    for found in _IBAN.finditer(text):
        if (stop := _end_of_iban(found)) is not None:
            spans.append((found.start(), stop))
    return spans


def _in_row(text: str, begin: int, end: int) -> list[tuple[int, int]]:
    groups = list(_GROUP.finditer(text, begin, end))
    lengths = [len(each["digits"]) for each in groups]
    spans = []
    at = 0
    while at < len(groups):
        last = _last_of_number(groups, lengths, at)
        if last is not None:
            spans.append((groups[at].start("digits"), groups[last].end("digits")))
            at = last
        at += 1
    around = text[max(begin - 1, 0) : begin] + text[end : end + 1]
    if spans or any(char.isalnum() or char in "_." for char in around):
        return spans
    # Grouped in any way, where nothing else is there.
    is_short = len(groups) <= _MOST and not any(each["dot"] for each in groups)
    return [(begin, end)] if is_short and _is_number("".join(_digits(groups))) else []


def _last_of_number(groups: list[re.Match[str]], lengths: list[int], first: int) -> int | None:
    """The last group of the longest number that begins with the first one; None if none does."""
    if lengths[first] == 1 and lengths[first : first + len(_NIR_GROUPS)] == _NIR_GROUPS:
        last = first + len(_NIR_GROUPS) - 1
        return last if _is_nir("".join(_digits(groups[first : last + 1]))) else None
    total = 0
    found = None
    dotted = None
    for at in range(first, len(groups)):
        total += lengths[at]
        if total > _MOST:
            break
        if at > first:
            has_dot = groups[at]["dot"] is not None
            if lengths[at - 1] < 4 or dotted not in (None, has_dot):
                break
            dotted = has_dot
        elif groups[at]["dot"] is not None and lengths[at - 1] < _FEWEST <= total:
            break  # the fraction of a number
        if total >= _FEWEST and _is_number("".join(_digits(groups[first : at + 1]))):
            found = at
    return found


def _digits(groups: list[re.Match[str]]) -> list[str]:
    return [each["digits"] for each in groups]


def _is_number(digits: str) -> bool:
    return _is_card(digits) or _is_nir(digits)


def _is_card(digits: str) -> bool:
    if not _ISSUERS.fullmatch(digits):
        return False
    doubled = digits[-2::-2].translate(_LUHN)
    return (sum(map(int, digits[::-2])) + sum(map(int, doubled))) % 10 == 0


def _is_nir(digits: str) -> bool:
    return (
        len(digits) == _NIR_DIGITS
        and digits[0] in "12"
        and 97 - int(digits[:13]) % 97 == int(digits[13:])
    )


def _end_of_iban(found: re.Match[str]) -> int | None:
    length = _IBAN_LENGTHS[found[0][:2].upper()]
    taken = []
    for each in _IBAN_CHARACTER.finditer(found.string, *found.span()):
        taken.append(each[1])
        if len(taken) == length:
            number = "".join(taken[4:] + taken[:4])
            right = int("".join(str(int(char, 36)) for char in number)) % 97 == 1
            return each.end() if right else None
    return None
