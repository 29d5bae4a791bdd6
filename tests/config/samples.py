"""Small configurations that tests build on."""

from pathlib import Path

from proxy.config import Config, Finding, Loaded, load_bytes

EXAMPLES = Path(__file__).parent / "examples"
FILE = Path("/etc/banyan/routes.yaml")

BACKENDS = "backends: {legacy: 'http://127.0.0.1:1', new: 'http://127.0.0.1:2'}\n"


def loaded(text: str, env: dict[str, str] | None = None) -> Loaded:
    return load_bytes(text.encode(), FILE, env or {})


def config_of(text: str, env: dict[str, str] | None = None) -> Config:
    """The configuration of a text that has no error."""
    outcome = loaded(text, env)
    assert outcome.config is not None, "\n".join(map(str, outcome.findings))
    return outcome.config


def with_routes(routes: str, more: str = "") -> str:
    """A file with the two usual backends."""
    lines = "\n".join("  " + line for line in routes.splitlines())
    return f"{BACKENDS}{more}\nroutes:\n{lines}\n"


def findings_of(text: str, code: str | None = None) -> list[Finding]:
    """The findings of a text, of one code if it is given."""
    return [each for each in loaded(text).findings if code in (None, each.code)]


def only(text: str) -> Finding:
    """The one finding of a text."""
    found = loaded(text).findings
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]
