"""What a comparer recorded, replayed: by the same rules nothing changes, by others it is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.config import load
from proxy.core.divergences import Divergence
from proxy.core.messages import AnswerRecord
from proxy.observe.assessing import Assessment, Assessor
from proxy.observe.compared import Results, Ruleset
from proxy.observe.comparing import Comparing
from tests.cli.replays import config, data, export, replay
from tests.harness.comparer import KEY, answer, suspect

FORM = "application/x-www-form-urlencoded"
Rules = dict[str, Any]


def found(folder: Path, rules: Rules, legacy: AnswerRecord, new: AnswerRecord) -> Divergence:
    """The divergence of this pair, by these rules of the route orders."""
    loaded = load(config(folder, json.dumps({**rules, "noise": "0%", "recheck": False})), {})
    assert loaded.config is not None, loaded.findings
    routes = {each.name: each for each in loaded.config.routes}
    compare = routes["orders"].compare
    assert compare is not None
    comparing = Comparing()
    comparing.use(Ruleset(1, [compare], {"orders": 0}, KEY, str(folder)))
    result = comparing.result(0, suspect(1, legacy, new, route="orders"), lambda: True)
    comparing.close()
    assert result is not None
    told: list[Assessment] = []
    assessor = Assessor(lambda slot, question: False, told.append, 7)
    assessor.retain(routes)
    assessor.take(Results(0, [result]), 0.0)
    divergence = told[0].divergence
    assert divergence is not None, told
    assert divergence.legacy_answer is not None
    return divergence


def replayed(folder: Path, pair: Divergence, rules: Rules) -> dict[str, Any]:
    return data(replay(folder, export(folder, pair), "--json", compare=json.dumps(rules)))


X1 = b'{"pin": %s, "x": 1}'
X2 = b'{"pin": %s, "x": 2}'
SAME_RULES: dict[str, tuple[Rules, AnswerRecord, AnswerRecord]] = {
    "the type of a secret": ({}, answer(b'{"pin": 1234}'), answer(b'{"pin": "1234"}')),
    "a tolerance on one": (
        {"tolerance": {"$.pin": 1}},
        answer(X1 % b"1234.5"),
        answer(X2 % b"1234.6"),
    ),
    "a leniency on one": (
        {"lenient": ["number-text"]},
        answer(X1 % b"1234"),
        answer(X2 % b'"1234"'),
    ),
    "inside one": (
        {},
        answer(b'{"tokens": {"a": 1, "b": 2}}'),
        answer(b'{"tokens": {"a": 1, "b": 3}}'),
    ),
    "an order inside one": (
        {"unordered": ["$.pin"]},
        answer(X1 % b'["a", "b"]'),
        answer(X2 % b'["b", "a"]'),
    ),
    "ignored inside one": (
        {"ignore": ["$.pin.at"]},
        answer(X1 % b'{"id": 1, "at": 1}'),
        answer(X2 % b'{"id": 1, "at": 2}'),
    ),
    "a key that stands twice": ({}, answer(b'{"a": 1, "a": 2}'), answer(b'{"a": 2}')),
    "bytes that are no text": ({}, answer(b"a=1&b=%ff", FORM), answer(b"a=2&b=%fe", FORM)),
    "digits beyond a float": ({}, answer(b'{"a": 1.00000000000000000001}'), answer(b'{"a": 1.0}')),
    "many secrets": (
        {},
        answer(json.dumps([{"pin": n} for n in range(60)]).encode()),
        answer(json.dumps([{"pin": str(n)} for n in range(60)]).encode()),
    ),
    "XML that is none": (
        {},
        answer(b"<a><password>x</a>", "text/xml"),
        answer(b"<a><b>1</b></a>", "text/xml"),
    ),
}


@pytest.mark.parametrize("case", SAME_RULES)
def test_the_same_rules_show_no_change(tmp_path: Path, case: str) -> None:
    rules, legacy, new = SAME_RULES[case]
    pair = found(tmp_path, rules, legacy, new)
    result = replayed(tmp_path, pair, rules)
    assert result["not_replayed"] == {}
    assert result["signatures"] == [
        {"signature": text, "before": 1, "after": 1} for text in sorted(pair.signatures())
    ]
    assert [each["after"] for each in result["changes"]] == ["divergent"]


def test_other_places_can_be_tried_by_other_rules(tmp_path: Path) -> None:
    rules = {"ignore": ["$.pin.at"]}
    pair = found(
        tmp_path, rules, answer(X1 % b'{"at": 1, "id": 1}'), answer(X2 % b'{"at": 2, "id": 1}')
    )
    result = replayed(tmp_path, pair, {"ignore": ["$.pin.at", "$.x"]})
    assert [each["after"] for each in result["changes"]] == ["equal"]


@pytest.mark.parametrize("place", ["$.pin", "$..pin", "$.*", "$"])
def test_what_is_ignored_whole_is_equal(tmp_path: Path, place: str) -> None:
    pair = found(tmp_path, {}, answer(b'{"pin": 1234}'), answer(b'{"pin": "1234"}'))
    result = replayed(tmp_path, pair, {"ignore": [place]})
    assert [each["after"] for each in result["changes"]] == ["equal"]


@pytest.mark.parametrize(
    ("before", "rules"),
    [
        ({"tolerance": {"$.pin": 1}}, {}),
        ({"tolerance": {"$.pin": 1}}, {"tolerance": {"$.*": 0.01}}),
        ({"tolerance": {"$.pin": 1}}, {"tolerance": {"$.pin": 1}, "lenient": ["int-float"]}),
    ],
)
def test_what_other_rules_make_of_a_secret_is_not_guessed(
    tmp_path: Path, before: Rules, rules: Rules
) -> None:
    pair = found(tmp_path, before, answer(X1 % b"1234.5"), answer(X2 % b"1234.6"))
    result = replay(tmp_path, export(tmp_path, pair), "--json", compare=json.dumps(rules))
    assert result.exit_code == 1
    assert "Nothing was replayed" in result.stderr
    assert data(result)["not_replayed"] == {
        "what is recorded of it does not tell what these rules make of it": 1
    }


def test_a_comparator_of_ones_own_that_fails_on_what_is_recorded_is_said(tmp_path: Path) -> None:
    (tmp_path / "pins.py").write_text(
        "import json\n"
        "from comparators.model import Difference, Kind\n"
        "def digits(legacy, new, rules):\n"
        "    one, other = (json.loads(each.body)['pin'] + 1 for each in (legacy, new))\n"
        "    if one != other:\n"
        "        yield Difference('$.pin', Kind.VALUE, one, other)\n"
    )
    rules = {"with": "pins:digits"}
    pair = found(tmp_path, rules, answer(b'{"pin": 1234}'), answer(b'{"pin": 1235}'))
    assert replayed(tmp_path, pair, rules)["not_replayed"] == {
        "what is recorded of it does not tell what these rules make of it": 1
    }
