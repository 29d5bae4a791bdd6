"""The machine the figures come from: its cores and how they are shared out.

The proxy that is measured has one core for itself; the load generator and the backends have the
others. So a proxy is never slowed by the load that is put on it, and its single worker cannot
spread over two cores. On a machine with one core nothing is pinned, and the report says so.
"""

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cores:
    """Which cores the proxies, the load generator and the backends run on."""

    proxy: frozenset[int]
    load: frozenset[int]
    backends: frozenset[int]

    def __str__(self) -> str:
        if self.proxy == self.load:
            return "one core: nothing is pinned, the figures are noisier"
        return (
            f"proxies pinned to core {shown(self.proxy)}, load generator to {shown(self.load)}, "
            f"backends to {shown(self.backends)}"
        )


def share_cores(available: frozenset[int]) -> Cores:
    """One core for the proxy, one for the load generator where there are three."""
    ordered = sorted(available)
    if len(ordered) == 1:
        return Cores(available, available, available)
    if len(ordered) == 2:
        other = frozenset(ordered[1:])
        return Cores(frozenset(ordered[:1]), other, other)
    return Cores(frozenset(ordered[:1]), frozenset(ordered[1:2]), frozenset(ordered[2:]))


def available_cores() -> frozenset[int]:
    """The cores this process may run on."""
    return frozenset(os.sched_getaffinity(0))


def busy_seconds(cores: frozenset[int]) -> float:
    """Seconds since the start of the machine that these cores did not idle, from /proc/stat."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _, _, irq, soft, *_ = map(int, ticks)
            total += user + nice + system + irq + soft
    return total / os.sysconf("SC_CLK_TCK")


def describe() -> str:
    """One line about the machine."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    load = os.getloadavg()[0]
    return (
        f"{len(available_cores())} cores, {model}, Linux {platform.release()}, "
        f"load average {load:.2f} at the start"
    )


def shown(cores: frozenset[int]) -> str:
    return ",".join(str(core) for core in sorted(cores))
