"""The arithmetic of the report: medians, paired ratios, bars and what counts as noise."""

import pytest

from benchmarks.figures import Bar, Latency, Sample, latency_bar, paired_ratio
from benchmarks.load import quantile
from benchmarks.processes import Cpu
from benchmarks.report import align, as_json, render_outcome
from benchmarks.scenarios import half_of_saturation, ratio_bars, speed_section
from benchmarks.wrk import WrkFigures, read_figures


def sample(requests: int, cpu_s: float, seconds: float = 1.0) -> Sample:
    return Sample.of(WrkFigures(requests, seconds, 1.0, 2.0, 0), Cpu(cpu_s / 2, cpu_s / 2))


def latency(p99_ms: float) -> Latency:
    return Latency(1000, 1000, 0, p99_ms / 2, p99_ms, p99_ms * 2, 0.5)


def test_a_ratio_is_taken_within_each_round() -> None:
    # The machine ran at half its speed in the second round: the ratio stays.
    mine = [sample(500, 1), sample(250, 1), sample(500, 1)]
    theirs = [sample(1000, 1), sample(500, 1), sample(1000, 1)]
    assert paired_ratio(mine, theirs, lambda one: one.per_cpu_second) == 0.5


def test_requests_are_counted_by_the_cpu_time_they_took() -> None:
    one = sample(1000, cpu_s=0.5, seconds=2)
    assert (one.per_cpu_second, one.per_second, one.busy) == (2000, 500, 0.25)
    assert (one.user_us, one.system_us) == (250, 250)


@pytest.mark.parametrize(
    ("value", "bound", "at_least", "passed"),
    [
        (0.5, 0.5, True, True),
        (0.49, 0.5, True, False),
        (60, 60, False, True),
        (61, 60, False, False),
        (0.1, None, True, True),
    ],
)
def test_a_bar_says_whether_it_holds(
    value: float, bound: float | None, at_least: bool, passed: bool
) -> None:
    bar = Bar("ratio", value, bound, at_least)
    assert bar.passed is passed
    assert ("FAIL" in str(bar)) is not passed


@pytest.mark.parametrize(
    ("base_ms", "measured_ms", "passed"),
    [
        pytest.param(20, 21.9, True, id="a tenth more"),
        pytest.param(20, 23, False, id="more than either"),
        pytest.param(0.5, 1.4, True, id="less than a millisecond more"),
        pytest.param(0.5, 1.6, False, id="more than a millisecond more"),
    ],
)
def test_noise_is_a_tenth_or_a_millisecond(
    base_ms: float, measured_ms: float, passed: bool
) -> None:
    bar = latency_bar("p99", [latency(measured_ms)] * 5, [latency(base_ms)] * 5)
    assert bar.passed is passed


def test_bars_are_only_made_of_what_was_measured() -> None:
    samples = {"banyan": [sample(600, 1)], "nginx": [sample(1000, 1)]}
    bars = ratio_bars(samples, ("banyan", "nginx", 0.5), ("banyan", "aiohttp", 4))
    assert [bar.value for bar in bars] == [0.6]


def test_failed_requests_of_banyan_fail_the_section() -> None:
    broken = Sample.of(WrkFigures(100, 1.0, 1.0, 2.0, 3), Cpu(0.1, 0.1))
    section = speed_section("title", {"banyan": [broken]})
    assert [bar.passed for bar in section.bars] == [False]


def test_a_slow_proxy_is_not_driven_over_its_own_saturation() -> None:
    samples = {"banyan": [sample(1000, 1)], "nginx": [sample(2000, 1)], "aiohttp": [sample(200, 1)]}
    assert half_of_saturation(samples, "banyan") == {"banyan": 500, "nginx": 500, "aiohttp": 100}


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([1.0], 0.99, 1.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 101)], 1.0, 100.0),
    ],
)
def test_quantiles_are_values_that_were_seen(
    values: list[float], share: float, expected: float
) -> None:
    assert quantile(values, share) == expected


def test_the_line_of_the_lua_script_is_read() -> None:
    figures = read_figures("Running 1s test\nFIGURES 5000 1000000 1500 4000 2\n")
    assert figures == WrkFigures(5000, 1.0, 1.5, 4.0, 2)


def test_the_report_names_the_bars_that_fail() -> None:
    bars = [Bar("good", 1, 0.5), Bar("bad", 0.1, 0.5), Bar("told", 0.1, None)]
    assert "1 of 2 bars pass" in render_outcome(bars)
    assert "FAIL  bad" in render_outcome(bars)
    assert "good" not in render_outcome(bars)


def test_columns_line_up() -> None:
    assert align([("", "a", "long"), ("name", "1", "2")]) == ["      a  long", "name  1     2"]


def test_every_round_is_in_the_json() -> None:
    section = speed_section("title", {"nginx": [sample(1, 1), sample(2, 1)]})
    document = as_json({"machine": "m"}, [section])
    assert document["passed"] is True
    assert len(section.raw["saturated"]["nginx"]) == 2  # type: ignore[index]  # JSON values
