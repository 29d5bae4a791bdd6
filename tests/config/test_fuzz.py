"""Whatever the file holds, `load_bytes` answers with findings and never raises."""

import random
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config import load_bytes
from proxy.config.schema import FileModel
from tests.config.samples import EXAMPLES, FILE

SEEDS = [path.read_bytes() for path in sorted(EXAMPLES.glob("*.yaml"))]
SPICE = [b"{", b"}", b"[", b"]", b":", b"*", b"&a ", b"${X}", b"${", b"\t", b"'", b'"', b"- ", b"%"]
SPICE += [
    b"null",
    b"1e999",
    b"~",
    b"\xff",
    b"\x00",
    b"\n  ",
    b"!!x ",
    b"<<: ",
    b"999999999999",
    b"#",
]


def check(data: bytes) -> None:
    outcome = load_bytes(data, FILE, {"X": "{"})
    errors = [each for each in outcome.findings if each.severity == "error"]
    assert (outcome.config is None) == bool(errors)
    for each in outcome.findings:
        line = str(each)
        assert line.isprintable()
        assert line.startswith(f"{FILE}:{each.line}:{each.column}: {each.severity} {each.code}: ")
        assert each.line >= 1
        assert each.column >= 1
        assert len(line) < 5000


@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    check(data)


@given(st.text(max_size=400))
def test_random_text(text: str) -> None:
    check(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_mutated_files(seed: int, edits: int) -> None:
    chance = random.Random(seed)
    data = bytearray(chance.choice(SEEDS))
    for _ in range(edits):
        at = chance.randrange(len(data))
        if chance.random() < 0.4:
            del data[at : at + chance.randrange(1, 30)]
        elif chance.random() < 0.3:
            other = chance.randrange(len(data))
            data[at:at] = data[other : other + chance.randrange(1, 60)]
        else:
            data[at:at] = chance.choice(SPICE)
    check(bytes(data))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=True),
    st.sampled_from(["1%", "5s", "64KiB", "legacy", "shadow-read", "/a/{id}", "param:id", "$.a"]),
    st.text(max_size=12),
)
keys = st.one_of(
    st.sampled_from(sorted(FileModel.model_fields)),
    st.sampled_from(["phase", "url", "steps", "header", "from", "legacy", "new", "/a", "GET /a/*"]),
    st.text(max_size=8),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(FileModel.model_fields)), values, max_size=6))
def test_any_values_under_the_known_keys(value: object) -> None:
    check(yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(FileModel.model_fields["defaults"].annotation.model_fields)),  # type: ignore[union-attr]  # a model
    values,
    st.booleans(),
)
def test_any_value_of_a_setting_of_routes(name: str, value: object, inherited: bool) -> None:
    setting = yaml.safe_dump(
        {name: value}, default_flow_style=True, width=10**6, allow_unicode=True
    )
    entry = setting.strip().removeprefix("{").removesuffix("}")
    base = "backends: {legacy: 'http://a:1', new: 'http://b:1'}\n"
    text = (
        f"{base}defaults: {{{entry}}}\nroutes: {{'/a/{{id}}': 5%}}\n"
        if inherited
        else f"{base}routes: {{'/a/{{id}}': {{phase: 5%, {entry}}}}}\n"
    )
    check(text.encode("utf-8", "surrogatepass"))


def test_a_path_that_is_not_text() -> None:
    outcome = load_bytes(b"x", Path("a\udcff\n.yaml"), {})
    assert str(outcome.findings[0]).isprintable()
