"""A store with 100,000 divergences, and how long it takes to look into it."""

import resource
import time
from collections.abc import Awaitable, Callable

from proxy.core.divergences import signature
from proxy.store.divergences import DivergenceStore
from tests.store.divergences import NOW, difference, divergence

ROUNDS = 10
MOST_CPU_S = 0.05  # generous: it takes a hundredth of that, on a quiet machine


def cpu_s() -> float:
    """CPU time of this process, a store's thread included."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def fill_largely(store: DivergenceStore) -> None:
    """100,000 divergences of 50 routes with 10 signatures each, two in each divergence."""
    began, used = time.perf_counter(), cpu_s()
    for start in range(0, 100_000, 1000):
        await store.add(
            [
                divergence(
                    n,
                    difference(f"$.f{n // 50 % 10}x"),
                    difference(f"$.f{(n // 50 + 1) % 10}x", "missing"),
                    route=f"r{n % 50}",
                )
                for n in range(start, start + 1000)
            ]
        )
    took, used = time.perf_counter() - began, cpu_s() - used
    print(f"100,000 added in {took:.1f} s, {used:.1f} s of CPU")


async def check_quick(store: DivergenceStore, deep: str) -> None:
    """Ask for pages of every kind; `deep` is the cursor of one far behind."""
    value = signature("r7", "$.f3x", "value")
    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "newest": lambda: store.page(limit=50),
        "route": lambda: store.page(route="r7", limit=50),
        "signature": lambda: store.page(signature=value, limit=50),
        "since": lambda: store.page(since=NOW + 99_000, limit=50),
        "deep": lambda: store.page(limit=50, cursor=deep),
        "one": lambda: store.get("d99999"),
        "signatures": lambda: store.signatures(limit=20),
    }
    for what, ask in asked.items():
        assert await ask()
        began, used = time.perf_counter(), cpu_s()
        for _ in range(ROUNDS):
            await ask()
        took, used = (time.perf_counter() - began) / ROUNDS, (cpu_s() - used) / ROUNDS
        print(f"{what}: {took * 1000:.2f} ms, {used * 1000:.2f} ms of CPU")
        assert used < MOST_CPU_S, what
