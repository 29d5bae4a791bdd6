"""Ladders that leave out a phase or cannot be climbed, and limits that refuse everybody."""

import pytest

from tests.config.samples import findings_of, only, with_routes


@pytest.mark.parametrize(
    ("key", "settings", "words"),
    [
        ("/a", "phase: shadow-read, advance: {steps: [shadow-read, new-only]}", ["never taken"]),
        ("/a", "phase: shadow-read, advance: {steps: [10%]}", ["from shadow-read to 10%"]),
        ("/a", "phase: shadow-read, advance: {steps: [0%, 10%]}", []),
        (
            "/a",
            "phase: legacy-only, advance: {steps: [1%, new-only]}",
            ["from legacy-only to 1% leaves out 0%:", "from 1% to new-only leaves out dual-write,"],
        ),
        (
            "/a",
            "phase: shadow-read, accept_loss: true, advance: {steps: [new-only]}",
            ["leaves out 1% to 99% and dual-write,"],
        ),
        ("/a", "phase: shadow-read, accept_loss: true, advance: {steps: [10%]}", []),
        ("/a", "phase: shadow-read, writes: split, advance: {steps: [10%]}", []),
        ("GET,HEAD /a", "phase: shadow-read, advance: {steps: [10%]}", []),
        ("GET,POST /a", "phase: shadow-read, advance: {steps: [10%]}", ["never taken"]),
        ("/a", "phase: legacy-only, advance: {steps: [0%]}", ["leaves out shadow-read,"]),
        # Steps that lie behind the route are not taken.
        ("/a", "phase: 10%, advance: {steps: [shadow-read, 5%, 50%, dual-write]}", []),
        ("/a", "phase: new-only, advance: {steps: [shadow-read, new-only]}", []),
        (
            "/a",
            "phase: shadow-read, "
            "advance: {steps: [{shadow-read: 24h}, 0%, 10%, 50%, dual-write, new-only]}",
            [],
        ),
    ],
)
def test_a_ladder_that_leaves_out_a_phase(key: str, settings: str, words: list[str]) -> None:
    found = findings_of(with_routes(f"{key}: {{{settings}}}"), "PHASE_SKIPPED")
    assert len(found) == len(words), "\n".join(map(str, found))
    for each, expected in zip(found, words, strict=True):
        assert expected in each.text
        assert each.key_path == f"routes.{key}.advance.steps"
        assert each.severity == "warning"


def test_a_ladder_of_the_defaults_is_told_at_each_route_that_skips() -> None:
    text = with_routes("/a: shadow-read\n/b: 10%", "defaults: {advance: {steps: [new-only]}}")
    found = findings_of(text, "PHASE_SKIPPED")
    assert [each.key_path for each in found] == ["routes./a", "routes./b"]
    assert "never taken" in found[0].text
    assert "leaves out dual-write" in found[1].text


@pytest.mark.parametrize(
    ("low", "fine"),
    [
        ("header_bytes: 1023B", "header_bytes: 1KiB"),
        ("headers: 15", "headers: 16"),
        ("header_timeout: 99ms", "header_timeout: 100ms"),
        ("body_idle: 99ms", "body_idle: 100ms"),
    ],
)
def test_a_limit_that_usual_requests_do_not_keep(low: str, fine: str) -> None:
    found = only(with_routes("/a: 1%", f"limits: {{{low}}}"))
    assert (found.code, found.severity) == ("LIMITS_TOO_LOW", "warning")
    assert found.key_path == f"limits.{low.partition(':')[0]}"
    assert findings_of(with_routes("/a: 1%", f"limits: {{{fine}}}")) == []
