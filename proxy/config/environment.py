"""`${NAME}` in a value or key: an environment variable, filled in after the YAML is parsed."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

_REFERENCE = re.compile(r"\$?\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def empty_variables(text: str, taken: Mapping[str, str]) -> list[str]:
    """The variables that this text names and that are set to nothing."""
    names = [found[1] for found in _REFERENCE.finditer(text) if not found[0].startswith("$$")]
    return [name for name in dict.fromkeys(names) if taken.get(name) == ""]


def interpolate(text: str, env: Mapping[str, str], taken: dict[str, str]) -> tuple[str, list[str]]:
    """The text with every `${NAME}` replaced, and what is wrong with those that cannot be.

    `$${` stands for `${` itself. Values are not looked at again. What was used is added to
    `taken`.
    """
    missing: list[str] = []

    def value(found: re.Match[str]) -> str:
        whole, name = found[0], found[1]
        if whole.startswith("$$"):
            return whole[1:]
        if not found[2] or not _NAME.fullmatch(name):
            missing.append(
                f"{whole[:60]} names no environment variable; legal is ${{NAME}} with letters, "
                "digits and _, and $${ for the text itself"
            )
            return whole
        if name not in env:
            near = get_close_matches(name, list(env)[:5000], n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            missing.append(
                f"the environment variable {name[:60]} is not set{hint}; set it, or write "
                f"$${{{name[:60]}}} for the text itself"
            )
            return whole
        taken[name] = env[name]
        return env[name]

    return _REFERENCE.sub(value, text), missing
