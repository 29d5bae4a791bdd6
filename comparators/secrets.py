"""What a secret looks like: by the name it goes under, or by its shape in any text.

Names are taken apart into words (`accessToken`, `access_token`, `X-Access-Token`), so that
`pinned`, `author` and `tokenizer` are none; what is often written as one word (`clientsecret`,
`authtoken`) is found in it. Shapes with a checksum are tested by it: the Spanish DNI and NIE, and
what `numbers` finds. Without one only what has an unmistakable form is taken: the US social
security number, the British national insurance number, e-mail addresses, JSON web tokens,
credentials in headers and URLs, private keys in PEM and PGP, and the keys of well-known services.
What a text itself gives a name is found by `named`.
"""

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final, TypeAlias
from unicodedata import category, normalize

from comparators.numbers import number_spans

Span: TypeAlias = tuple[int, int]  # begin and end in a text

MARK: Final = "redacted:"
HASHED: Final = re.compile(MARK + "[0-9a-f]{12}")  # what stands for a secret

_WORDS: Final = frozenset(
    (
        *("password", "passwords", "passwd", "pwd", "passphrase", "passcode", "secret", "secrets"),
        *("token", "tokens", "jwt", "jwts", "authorization", "authentication", "bearer", "cookie"),
        *("cookies", "session", "sessions", "sid", "csrf", "xsrf", "credential", "credentials"),
        *("ssn", "iban", "cvv", "cvc", "otp", "totp", "pin", "pins", "pan", "nino", "dni", "nir"),
        *("passport", "passports", "psk", "mnemonic", "otpauth", "masterauth", "requirepass"),
        # The same in other languages, without their accents.
        *("passwort", "kennwort", "senha", "contrasena", "contrasenas", "contrasenya", "mdp"),
        *("motdepasse", "wachtwoord", "losenord", "passord", "kodeord", "adgangskode", "salasana"),
        *("heslo", "haslo", "jelszo", "parola", "sifre", "lozinka", "geslo"),
        *("bsn", "cpf", "svnr", "pesel", "personnummer", "aadhaar", "curp"),
    )
)
# Two words that name a secret together; the last one in the plural too.
_PAIRS: Final = frozenset(
    (
        *("api key", "access key", "private key", "secret key", "signing key", "encryption key"),
        *("decryption key", "session key", "auth key", "master key", "shared key", "storage key"),
        *("account key", "hmac key", "ssh key", "ssl key", "cert key", "license key"),
        *("card number", "credit card", "debit card", "cc number", "account number", "tax id"),
        *("tax number", "national id", "social security", "security number", "session id"),
        *("passport number", "license number", "licence number", "driver license"),
        *("drivers license", "driving licence", "bank account", "routing number", "sort code"),
        *("mfa code", "auth code", "recovery code", "backup code", "verification code"),
        *("security code", "login code", "reset code", "security answer", "oauth verifier"),
        *("code verifier", "connection string", "x auth", "de passe", "webhook url", "magic link"),
        *("account no", "card no", "passport no", "license no", "licence no", "insurance number"),
        *("nhs number", "steuer id", "codice fiscale", "seed phrase", "recovery phrase"),
        *("recovery key", "unlock key", "app key", "consumer key", "subscription key", "wifi key"),
        *("aes key", "rsa key", "enc key", "pre shared", "key material", "invite code"),
        *(
            "db pass",
            "user pass",
            "admin pass",
            "root pass",
            "smtp pass",
            "mail pass",
            "email pass",
        ),
        *("ftp pass", "ldap pass", "bind pass", "redis pass", "mysql pass", "pg pass", "key pass"),
        *("store pass", "new pass", "old pass", "confirm pass", "login pass", "auth pass"),
        *("db pw", "user pw", "admin pw", "root pw", "bind pw", "new pw", "old pw"),
    )
)
# Names as a whole: as one word among others, these say something else.
_WHOLE: Final = frozenset(("auth", "pass", "pw", "xauth"))
# Written together, in the middle of a word or at its end.
_GLUED = re.compile(
    r"password|passwd|passphrase|passcode|(?:api|access|private|secret|encryption|signing)keys?"
    r"|(?:secret|token|credential)s?$|(?:session|auth|master|shared|hmac|ssh|ssl)keys?$|setcookies?$"
    r"|cardnumber|creditcard|debitcard|ccnumber|accountnumber|bankaccount|passportnumber"
    r"|(?:tax|national|steuer)ids?$|(?:auth|mfa|recovery|verification)codes?$"
    r"|(?:root|bind|user|db)(?:pw|pass)$|sessid$|sessionids?$|socialsecurity"
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LONGEST_NAME: Final = 200
# In scripts without the letters A to Z (Russian, Chinese, Japanese, Korean); anywhere in a name.
_OTHER_SCRIPTS = re.compile(
    "\u043f\u0430\u0440\u043e\u043b|\u5bc6[\u7801\u78bc\u94a5\u9470]|\u53e3\u4ee4"
    "|\u30d1\u30b9\u30ef\u30fc\u30c9|\u6697\u8a3c\u756a\u53f7"
    "|\ube44\ubc00\ubc88\ud638|\uc554\ud638"
)
# Letters that look like those of names and are others, and those with a stroke through them.
_LOOK_ALIKE: Final = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0455\u0458\u043a\u0442\u043c\u0501\u051b\u03bf\u03b1\u03c1\u03b9\u03ba\u03bd\u0142\u00f8\u0131",
    "aeopcyxisjktmdqoapikvloi",
)

_SHAPES = re.compile(
    r"(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----END).)*(?:-----END[^-]*-----)?)"
    r"|(?P<login>(?<=://)[^/\s:@\"'<>]{0,128}:(?![0-9]{1,5}[/?#])[^\s\"'<>]{1,256}(?=@))"
    r"|(?P<scheme>\b(?i:bearer|basic|digest|negotiate)[ \t]+(?P<credentials>(?!=)[\w.~+/=@-]{6,}))"
    r"|(?P<email>(?:[\w.!#$%'*+^`~-]{1,64}|\"[^\"@\s][^\"@\n]{0,62}\")"
    r"(?:(?:@|%40)\w[\w-]*+(?:\.[\w-]++)+)+)"
    r"|(?P<service>(?<![A-Za-z0-9])(?:(?=[A-Za-z])(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[opsur]_\w{20,}"
    r"|github_pat_\w{20,}|[sr]k_(?:live|test)_\w{10,}|whsec_[\w+/=]{10,}"
    r"|sk-(?:[a-z]{2,8}[0-9]{0,3}-){0,2}[A-Za-z0-9_]{16,}+[\w-]*+"
    r"|gl(?:pat|ptt|dt|rt)-[\w-]{16,}|xox[abeprs]-[\w-]{10,}|AIza[\w-]{30,}|npm_\w{30,}"
    r"|SG\.[\w-]{10,}\.[\w-]{10,}|hf_[A-Za-z0-9]{20,}|dop_v1_[0-9a-f]{32,}|shp(?:at|ca|pa|ss)_\w{20,}"
    r"|(?<=hooks\.slack\.com/)services/[\w/]{10,}|xapp-[\w-]{10,}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}"
    r"|pypi-AgEI\w{20,}|hvs\.[\w-]{20,}|dapi[0-9a-f]{32}|ATATT3[\w=-]{20,}|lin_api_\w{20,}"
    r"|sq0(?:atp|csp)-[\w-]{20,}|AGE-SECRET-KEY-1[A-Z0-9]{20,})"
    r"|[0-9]{8,10}:AA[\w-]{32,}))"
    # Hashes of passwords, as crypt(3), Argon2 and the like write them.
    r"|(?P<crypt>\$(?:2[abxy]?|[156]|y|apr1|argon2(?:id|i|d)|scrypt|pbkdf2[\w-]{0,16})\$[\w./$=,+-]{8,})"
    r"|(?P<ssn>(?<![\w-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w-]))"
    r"|(?P<nino>\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b)"
    r"|(?P<dni>\b(?:[0-9]{8}|[XYZ][0-9]{7})-?[A-HJ-NP-TV-Z]\b)",
    re.DOTALL,
)
# JSON web tokens, signed (three parts) and encrypted (five).
_BEGINS_JWT = re.compile(r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2}))eyJ[\w-]{5,}+")
_REST_OF_JWT = re.compile(r"\.[\w-]{2,}(?:\.[\w-]*+){0,3}")
_DNI_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"


def is_secret_name(name: str) -> bool:
    """Whether what goes under this name is a secret."""
    if len(name) <= _LONGEST_NAME:
        return _is_secret_name(name)
    return _is_secret_name(name[:_LONGEST_NAME]) or _is_secret_name(name[-_LONGEST_NAME:])


@lru_cache(maxsize=4096)
def _is_secret_name(name: str) -> bool:
    if not name.isascii():
        if _OTHER_SCRIPTS.search(normalize("NFKC", name).lower()):
            return True
        name = _plain_letters(name)
    words = [word.lower() for word in _WORD.findall(name)]
    whole = "".join(words)
    if not _WORDS.isdisjoint(words) or whole in _WORDS or whole in _WHOLE:
        return True
    if any(_GLUED.search(word) for word in words):
        return True
    pairs = pairwise(words)
    return any(
        f"{one} {other}" in _PAIRS or f"{one} {other[:-1]}" in _PAIRS for one, other in pairs
    )


def _plain_letters(name: str) -> str:
    """The name as it is meant to be read: without accents, and with letters for look-alikes."""
    plain = "".join(
        letter for letter in normalize("NFKD", name) if category(letter) not in ("Mn", "Cf")
    )
    return plain.translate(_LOOK_ALIKE)


def shape_spans(text: str) -> list[Span]:
    """Where secrets stand in a text by their shape alone, in no order; some may overlap."""
    spans = [span for found in _SHAPES.finditer(text) if (span := _span(found)) is not None]
    if "eyJ" in text:
        spans += _jwt_spans(text)
    return spans + number_spans(text)


def _jwt_spans(text: str) -> list[Span]:
    spans = []
    at = 0
    # What no dot follows is none, nor is what begins inside it: so it is looked at only once.
    while (found := _BEGINS_JWT.search(text, at)) is not None:
        at = found.end()
        if rest := _REST_OF_JWT.match(text, at):
            at = rest.end()
            spans.append((found.start(), at))
    return spans


def _span(found: re.Match[str]) -> Span | None:
    kind = found.lastgroup
    # The last group that closed: of those with a group inside, the outer one.
    if kind == "scheme":
        return found.span("credentials")
    if kind == "dni" and not _is_dni(found[0].replace("-", "")):
        return None
    return found.span()


def _is_dni(text: str) -> bool:
    number = text[:-1].translate(str.maketrans("XYZ", "012"))
    return _DNI_LETTERS[int(number) % 23] == text[-1]
