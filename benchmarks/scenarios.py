"""The scenarios of speed: pass-through, sizes, shadow and isolation, each with its bars."""

import contextlib
import http.client
import re
import time
from collections.abc import Callable
from dataclasses import replace

from benchmarks.figures import (
    Bar,
    Latency,
    Sample,
    Section,
    latency_bar,
    median_of,
    paired_ratio,
    plain,
)
from benchmarks.measuring import Settings, Target, at_rate, request_file, saturate
from benchmarks.memory import measure_memory
from benchmarks.stage import Stage

SPEED_HEADER = (
    "",
    "req/CPU-s",
    "user µs",
    "system µs",
    "req/s",
    "core busy",
    "p50 ms*",
    "p99 ms*",
    "errors",
)
FLOOR = "bare backend (the floor)"
# How far below its own saturation a proxy must be kept to be measured at the common rate.
HEADROOM = 0.75
SETTLE_TRIES = 30  # a second each


def measure_pass_through(stage: Stage, settings: Settings) -> list[Section]:
    """`legacy-only` beside the proxies that people use, then p99 at a fixed rate."""
    file = request_file(stage, "/api/")
    names = settings.chosen("nginx", "haproxy", "aiohttp", "banyan")
    targets = [Target(name, name, file) for name in names]
    samples = saturate(stage, settings, targets)
    section = speed_section("pass-through (200 B answers, 10 headers each way)", samples)
    section.bars += ratio_bars(
        samples, ("banyan", "nginx", 0.5), ("banyan", "haproxy", None), ("banyan", "aiohttp", 4)
    )
    floor = Target(FLOOR, "backend", file)
    leader = "banyan" if "banyan" in samples else names[0]
    rates = half_of_saturation(samples, leader)
    rates[FLOOR] = rates[leader]
    latencies = at_rate(stage, settings, [floor, *targets], rates)
    return [section, latency_section("pass-through at a fixed rate", latencies)]


def measure_sizes(stage: Stage, settings: Settings) -> list[Section]:
    """Pass-through with larger answers, and with more headers."""
    names = settings.chosen("nginx", "haproxy", "aiohttp", "banyan")
    sections = []
    for title, prefix, more in (
        ("pass-through, 20 headers each way", "/headers/", True),
        ("pass-through, 16 KiB answers", "/16k/", False),
        ("pass-through, 64 KiB answers", "/64k/", False),
    ):
        file = request_file(stage, prefix, more_headers=more)
        samples = saturate(stage, settings, [Target(name, name, file) for name in names])
        section = speed_section(title, samples)
        section.bars += ratio_bars(
            samples, ("banyan", "nginx", 0.5), ("banyan", "haproxy", None), ("banyan", "aiohttp", 4)
        )
        sections.append(section)
    return sections


def measure_shadow(stage: Stage, settings: Settings) -> list[Section]:
    """Every request also to the second backend, beside nginx with `mirror`."""
    file = request_file(stage, "/api/")
    names = settings.chosen("nginx", "nginx mirror", "banyan", "banyan shadow")
    targets = [Target(name, name, file) for name in names]
    samples = saturate(stage, settings, targets)
    section = speed_section("shadow-read of every request", samples, mirrored=True)
    section.bars += ratio_bars(
        samples,
        ("banyan shadow", "nginx mirror", 1.2),
        ("banyan shadow", "banyan", 0.3),
        ("banyan shadow", "nginx", 0.3),
        ("nginx mirror", "nginx", None),
    )
    if "banyan shadow" in samples:
        share = median_of(samples["banyan shadow"], lambda one: one.mirrored)
        section.bars.append(Bar("reads that reached the second backend", share, 0.99, unit=""))
    leader = "banyan shadow" if "banyan shadow" in samples else names[0]
    rates = half_of_saturation(samples, leader)
    rates[FLOOR] = rates[leader]
    floor = Target(FLOOR, "backend", file)
    latencies = at_rate(stage, settings, [floor, *targets], rates)
    return [section, latency_section("shadow-read at a fixed rate", latencies)]


def measure_isolation(stage: Stage, settings: Settings) -> list[Section]:
    """The client's p99 while the shadow is well, and while it is ill in each way."""
    if not settings.chosen("banyan"):
        return []
    plain_file = request_file(stage, "/api/")
    alone = Target("legacy-only", "banyan", plain_file)
    busied = Target("legacy-only, new asked directly", "banyan", plain_file, beside="new")
    well = Target("shadow well", "banyan shadow", plain_file)
    differing, *ill = (
        Target(f"shadow {what}", "banyan shadow", request_file(stage, prefix))
        for what, prefix in (
            ("slow, each answer differing", "/different/"),
            ("slow (200 ms)", "/slow/"),
            ("hanging", "/hanging/"),
            ("resetting", "/resetting/"),
            ("talking garbage", "/garbage/"),
            ("refusing", "/refusing/"),
        )
    )
    targets = [Target(FLOOR, "backend", plain_file), alone, busied, well, *ill, differing]
    found = saturate(stage, replace(settings, rounds=min(settings.rounds, 3)), [well])
    rate = median_of(found[well.label], lambda one: one.per_second) / 2
    rates = {one.label: rate for one in targets}
    latencies = at_rate(stage, short_rounds(settings), targets, rates)
    section = latency_section("isolation: the client's time beside any shadow", latencies)

    def against(target: Target, base: Target) -> Bar:
        text = f"p99 with {target.label}, against {base.label}"
        return latency_bar(text, latencies[target.label], latencies[base.label])

    section.bars += [against(target, alone) for target in ill]
    # A shadow that is answered at once makes the second backend work, on the load generator's core.
    section.bars.append(against(well, busied))
    # Of how much comparing takes `comparing` tells more.
    section.bars += [replace(against(target, alone), bound=None) for target in (well, differing)]
    for label, rounds in latencies.items():
        errors = sum(one.errors for one in rounds)
        if errors:
            section.bars.append(
                Bar(f"failed requests with {label}", errors, 0, at_least=False, unit="")
            )
    return [section]


def measure_comparing(stage: Stage, settings: Settings) -> list[Section]:
    """The client's p99 while every shadowed answer of 160 kB diverges, beside `compare: null`."""
    if not settings.chosen("banyan"):
        return []
    off, on = "compare: null", "every answer diverges"
    targets = [
        Target(off, "banyan shadow", request_file(stage, "/160k-off/")),
        Target(on, "banyan shadow", request_file(stage, "/160k/")),
    ]
    found = saturate(stage, replace(settings, rounds=min(settings.rounds, 3)), targets[:1])
    half = median_of(found[off], lambda one: one.per_second) / 2
    sections = []
    for title, rate in (("half of saturation", half), ("20 a second", 20.0)):
        before = compared_pairs(stage.proxy("banyan shadow").admin)
        rounds = short_rounds(settings)
        if rate == half:
            # Both have the same p99 within the noise of a round, and the bar is not far from that.
            rounds = replace(rounds, rounds=2 * rounds.rounds)
        latencies = at_rate(stage, rounds, targets, {off: rate, on: rate})
        after = settled_pairs(stage.proxy("banyan shadow").admin)
        judged, shed = after[0] - before[0], after[1] - before[1]
        section = latency_section(f"160 kB answers at {title}", latencies)
        text = "p99 while all diverge, against compare: null"
        bar = latency_bar(text, latencies[on], latencies[off])
        share = judged / (judged + shed) if judged + shed else 0.0
        if rate == half:
            section.bars.append(replace(bar, bound=1.2, excused=False))
            section.bars.append(Bar("share of the pairs that were judged", share, None, unit=""))
        else:
            section.bars.append(Bar("share of the pairs that were judged", share, 0.99, unit=""))
        sections.append(section)
    return sections


def settled_pairs(admin: int) -> tuple[float, float]:
    """The counts of `compared_pairs` once they do not grow any more: what waited is judged."""
    counts = compared_pairs(admin)
    for _ in range(SETTLE_TRIES):
        time.sleep(1.0)
        before, counts = counts, compared_pairs(admin)
        if before == counts:
            break
    return counts


def compared_pairs(admin: int) -> tuple[float, float]:
    """How many pairs were judged and how many were shed, of all routes, by the metrics."""
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", admin, timeout=10)
    ) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    judged = re.findall(r"^banyan_comparisons_total{[^}]*} (\S+)", text, re.MULTILINE)
    shed = re.findall(
        r'^banyan_skipped_total{[^}]*reason="(?:comparer_\w+|unverified)"} (\S+)',
        text,
        re.MULTILINE,
    )
    return sum(map(float, judged)), sum(map(float, shed))


SCENARIOS: dict[str, Callable[[Stage, Settings], list[Section]]] = {
    "pass-through": measure_pass_through,
    "shadow": measure_shadow,
    "isolation": measure_isolation,
    "comparing": measure_comparing,
    "sizes": measure_sizes,
    "memory": measure_memory,
}


def short_rounds(settings: Settings) -> Settings:
    """Many short rounds in place of a few long ones, for a p99 that is compared with another.

    A virtual machine loses its processor for ten milliseconds now and then. One such pause makes
    the p99 of its round; of many short rounds most have none, and the median is of those.
    """
    return replace(settings, rounds=5 * settings.rounds, seconds=settings.seconds / 4)


def half_of_saturation(samples: dict[str, list[Sample]], leader: str) -> dict[str, float]:
    """The common rate, half of what saturates the leader; less for a proxy it would overload."""
    saturation = {
        name: median_of(rounds, lambda one: one.per_second) for name, rounds in samples.items()
    }
    rate = saturation[leader] / 2
    return {name: rate if rate <= HEADROOM * own else own / 2 for name, own in saturation.items()}


def speed_section(
    title: str, samples: dict[str, list[Sample]], *, mirrored: bool = False
) -> Section:
    header = (*SPEED_HEADER, "shadowed") if mirrored else SPEED_HEADER
    section = Section(title, header, raw={"saturated": plain(samples)})
    for name, rounds in samples.items():
        row = [
            name,
            f"{median_of(rounds, lambda one: one.per_cpu_second):,.0f}",
            f"{median_of(rounds, lambda one: one.user_us):.1f}",
            f"{median_of(rounds, lambda one: one.system_us):.1f}",
            f"{median_of(rounds, lambda one: one.per_second):,.0f}",
            f"{median_of(rounds, lambda one: one.busy):.0%}",
            f"{median_of(rounds, lambda one: one.p50_ms):.2f}",
            f"{median_of(rounds, lambda one: one.p99_ms):.2f}",
            f"{sum(one.errors for one in rounds)}",
        ]
        if mirrored:
            row.append(f"{median_of(rounds, lambda one: one.mirrored):.1%}")
        section.rows.append(tuple(row))
        errors = sum(one.errors for one in rounds)
        if errors and name.startswith("banyan"):
            section.bars.append(
                Bar(f"failed requests of {name}", errors, 0, at_least=False, unit="")
            )
    section.notes.append("* of a saturated proxy, from wrk; the next table is what a client sees")
    return section


def latency_section(title: str, latencies: dict[str, list[Latency]]) -> Section:
    section = Section(
        title,
        ("", "rate", "p50 ms", "p99 ms", "max ms", "load core busy", "errors"),
        raw={"fixed_rate": plain(latencies)},
    )
    for name, rounds in latencies.items():
        section.rows.append(
            (
                name,
                f"{rounds[0].rate:,.0f}",
                f"{median_of(rounds, lambda one: one.p50_ms):.2f}",
                f"{median_of(rounds, lambda one: one.p99_ms):.2f}",
                f"{median_of(rounds, lambda one: one.max_ms):.1f}",
                f"{median_of(rounds, lambda one: one.load_busy):.0%}",
                f"{sum(one.errors for one in rounds)}",
            )
        )
    return section


def ratio_bars(
    samples: dict[str, list[Sample]], *wanted: tuple[str, str, float | None]
) -> list[Bar]:
    """Paired ratios of requests per CPU-second; a bound of None is only for information."""
    bars = []
    for above, below, bound in wanted:
        if above in samples and below in samples:
            ratio = paired_ratio(samples[above], samples[below], lambda one: one.per_cpu_second)
            bars.append(Bar(f"{above} / {below}, requests per CPU-second", ratio, bound))
    return bars
