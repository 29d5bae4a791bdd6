"""What a secret looks like: by the name it goes under, or by its shape in any text.

Names are taken apart into words (`accessToken`, `access_token`, `X-Access-Token`), so that
`pinned`, `author` and `tokenizer` are none. Shapes with a checksum are tested by it: card numbers
(Luhn, and the issuers' first digits), IBAN, the Spanish DNI and NIE, the French NIR. Without one
only what has an unmistakable form is taken: the US social security number, the British national
insurance number, e-mail addresses, JSON web tokens, credentials in headers and URLs, private keys
in PEM, and the keys of well-known services.
"""

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final

_WORDS: Final = frozenset(
    (
        *("password", "passwords", "passwd", "pwd", "passphrase", "passcode", "secret", "secrets"),
        *("token", "tokens", "jwt", "authorization", "authentication", "bearer", "cookie"),
        *("cookies", "session", "sessionid", "sid", "csrf", "xsrf", "credential", "credentials"),
        *("apikey", "accesskey", "privatekey", "ssn", "iban", "cvv", "cvc", "otp", "pin", "pan"),
        *("phpsessid", "jsessionid", "accesstoken", "refreshtoken", "nino", "dni", "nir"),
    )
)
_PAIRS: Final = frozenset(
    (
        *("api key", "access key", "private key", "secret key", "signing key", "card number"),
        *("credit card", "account number", "tax id", "national id", "social security"),
        *("security number", "session id", "date of", "one time"),
    )
) - {"date of", "one time"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

_NAMED: Final = (
    "passw(?:or)?d|passphrase|pwd|secret|(?:access|refresh|id|auth|session|csrf|xsrf)?[_-]?token"
    "|api[_-]?key|access[_-]?key|authorization|session[_-]?id|sid|pin|otp|cvv|ssn|client[_-]?secret"
)
_SHAPES = re.compile(
    r"(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----END).)*(?:-----END[^-]*-----)?)"
    r"|(?P<jwt>\beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?)"
    r"|(?P<login>(?<=://)[^/\s:@]*:[^/\s@]+(?=@))"
    r"|(?P<scheme>\b(?i:bearer|basic|digest|negotiate)[ \t]+(?P<credentials>[\w.~+/=-]{6,}))"
    rf"|(?P<pair>(?<![\w-])(?i:{_NAMED})[\"']?[ \t]*[=:][ \t]*[\"']?"
    r"(?P<given>(?:(?i:bearer|basic|digest|negotiate)[ \t]+)?[^\s&;,\"'<>]+))"
    r"|(?P<email>[\w.!#$%&'*+/?^`{|}~-]{1,64}@[A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)+)"
    r"|(?P<service>\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[opsu]_\w{20,}|[sr]k_(?:live|test)_\w{10,}"
    r"|xox[abprs]-[\w-]{10,}|AIza[\w-]{30,}))"
    r"|(?P<ssn>(?<![\w-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w-]))"
    r"|(?P<nino>\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b)"
    r"|(?P<iban>\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b)"
    r"|(?P<dni>\b(?:[0-9]{8}|[XYZ][0-9]{7})-?[A-HJ-NP-TV-Z]\b)"
    r"|(?P<digits>(?<![\w.])[0-9](?:[ -]?[0-9]){12,18}(?!\w))",
    re.DOTALL,
)
_SEPARATORS = re.compile(r"[ -]")
_ISSUERS = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|(?:5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720)[0-9]{12,14}"
    r"|3[47][0-9]{13}|(?:6011|64[4-9]|65)[0-9]{12,15}|35(?:2[89]|[3-8])[0-9]{12,16}"
    r"|3(?:0[0-5]|[689])[0-9]{11,16}|62[0-9]{14,17}|(?:50|5[6-9]|6[0-9])[0-9]{11,17}"
)
_DNI_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether what goes under this name is a secret."""
    if len(name) > 200:
        return False
    words = [word.lower() for word in _WORD.findall(name)]
    if not _WORDS.isdisjoint(words) or "".join(words) in _WORDS:
        return True
    return any(f"{one} {other}" in _PAIRS for one, other in pairwise(words))


def secret_spans(text: str) -> list[tuple[int, int]]:
    """Where secrets stand in a text: their begins and ends, in order, none overlapping."""
    return [span for found in _SHAPES.finditer(text) if (span := _span(found)) is not None]


def _span(found: re.Match[str]) -> tuple[int, int] | None:
    kind = found.lastgroup
    # The last group that closed: of those with a group inside, the outer one.
    if kind == "scheme":
        return found.span("credentials")
    if kind == "pair":
        return found.span("given")
    test = _TESTS.get(kind or "")
    if test is not None and not test(_SEPARATORS.sub("", found[0])):
        return None
    return found.span()


def _is_number_of_a_person_or_card(digits: str) -> bool:
    return _is_card(digits) or _is_nir(digits)


def _is_card(digits: str) -> bool:
    if not _ISSUERS.fullmatch(digits):
        return False
    total = 0
    for at, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 + at % 2)
        total += number - 9 * (number > 9)
    return total % 10 == 0


def _is_nir(digits: str) -> bool:
    return (
        len(digits) == 15 and digits[0] in "12" and 97 - int(digits[:13]) % 97 == int(digits[13:])
    )


def _is_iban(text: str) -> bool:
    turned = text[4:] + text[:4]
    if not 15 <= len(text) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in turned)) % 97 == 1


def _is_dni(text: str) -> bool:
    number = text[:-1].translate(str.maketrans("XYZ", "012"))
    return _DNI_LETTERS[int(number) % 23] == text[-1]


_TESTS: Final = {
    "digits": _is_number_of_a_person_or_card,
    "iban": _is_iban,
    "dni": _is_dni,
}
