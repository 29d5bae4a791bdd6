"""Visitors of the shop: `python -m demo.traffic --url http://127.0.0.1:8080 --rate 40`.

A bounded source: at most `--rate` requests a second, at most MAX_IN_FLIGHT at a time (what
would be more is left out and counted), over keep-alive connections. Each visitor has a cookie.
At the end (SIGTERM, SIGINT or `--seconds`) one line of JSON says what was sent and answered.
"""

import argparse
import asyncio
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from demo.stock import ADJECTIVES, CITIES, NOUNS, ORDERS, PRODUCTS, USERS, Order

MAX_IN_FLIGHT = 32
MAX_OWN_ORDERS = 20
TIMEOUT = aiohttp.ClientTimeout(total=10)


@dataclass(frozen=True)
class Step:
    """One request."""

    method: str
    path: str
    json: dict[str, Any] | None = None


@dataclass
class Visitor:
    """Somebody with a cookie and, after a while, some orders."""

    cookie: str
    chance: random.Random
    placed: int = 0
    own: list[str] = field(default_factory=list)

    def next_step(self) -> Step:
        habit = self.chance.choices(HABITS, WEIGHTS)[0]
        return habit(self)

    def products(self) -> Step:
        return Step("GET", f"/api/products?page={self.chance.randint(1, 4)}")

    def product(self) -> Step:
        return Step("GET", f"/api/products/{self.chance.choice(PRODUCTS).id}")

    def user(self) -> Step:
        return Step("GET", f"/api/users/{self.chance.choice(USERS).id}")

    def move_house(self) -> Step:
        user = self.chance.choice(USERS)
        city = self.chance.choice(CITIES)
        sent = {"fullName": user.name, "email": user.email, "city": city}
        return Step("PUT", f"/api/users/{user.id}", sent)

    def orders(self) -> Step:
        return Step("GET", f"/api/orders?user={self.chance.choice(USERS).id}")

    def order(self) -> Step:
        return Step("GET", f"/api/orders/{self.chance.choice([*self.own, a_known_order(self)])}")

    def receipt(self) -> Step:
        return Step("GET", f"/api/orders/{a_known_order(self)}/receipt")

    def buy(self) -> Step:
        if len(self.own) >= MAX_OWN_ORDERS:
            return self.cancel()
        self.placed += 1
        id = f"{self.cookie}-{self.placed}"
        self.own.append(id)
        return Step("POST", "/api/orders", order_document(self.chance, id))

    def change(self) -> Step:
        if not self.own:
            return self.buy()
        id = self.chance.choice(self.own)
        return Step("PUT", f"/api/orders/{id}", order_document(self.chance, id))

    def cancel(self) -> Step:
        if not self.own:
            return self.buy()
        return Step("DELETE", f"/api/orders/{self.own.pop(0)}")

    def search(self) -> Step:
        return Step("GET", f"/api/search?q={self.chance.choice(ADJECTIVES + NOUNS)}")

    def suggest(self) -> Step:
        return Step("GET", f"/api/search/suggest?q={self.chance.choice(NOUNS)[:2]}")

    def stock(self) -> Step:
        return Step("GET", f"/api/legacy/stock/{self.chance.choice(PRODUCTS).id}")

    def report(self) -> Step:
        return Step("GET", "/api/legacy/report")


def a_known_order(visitor: Visitor) -> str:
    order: Order = visitor.chance.choice(ORDERS)
    return order.id


def order_document(chance: random.Random, id: str) -> dict[str, Any]:
    lines = [
        {"product": chance.choice(PRODUCTS).id, "quantity": chance.randint(1, 3)}
        for _ in range(chance.randint(1, 3))
    ]
    return {"id": id, "user": chance.choice(USERS).id, "lines": lines, "state": "open"}


# What visitors do, and how often relative to each other.
MIX: dict[Callable[[Visitor], Step], int] = {
    Visitor.products: 6,
    Visitor.product: 16,
    Visitor.user: 15,
    Visitor.move_house: 4,
    Visitor.orders: 5,
    Visitor.order: 12,
    Visitor.receipt: 3,
    Visitor.buy: 3,
    Visitor.change: 2,
    Visitor.cancel: 2,
    Visitor.search: 14,
    Visitor.suggest: 8,
    Visitor.stock: 8,
    Visitor.report: 2,
}
HABITS = tuple(MIX)
WEIGHTS = tuple(MIX.values())


@dataclass
class Tally:
    """What came of it. `unanswered` are broken connections and time-outs."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    answered_by: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    left_out: int = 0

    def as_json(self) -> str:
        return orjson.dumps(
            {
                "sent": self.sent,
                "statuses": {str(code): count for code, count in sorted(self.statuses.items())},
                "answered_by": dict(sorted(self.answered_by.items())),
                "unanswered": dict(sorted(self.unanswered.items())),
                "left_out": self.left_out,
            }
        ).decode()


async def send(session: aiohttp.ClientSession, url: str, visitor: Visitor, tally: Tally) -> None:
    """One request and its whole answer."""
    step = visitor.next_step()
    tally.sent += 1
    try:
        async with session.request(
            step.method,
            url + step.path,
            json=step.json,
            headers={"Cookie": f"visitor={visitor.cookie}"},
            allow_redirects=False,
        ) as response:
            await response.read()
            tally.statuses[response.status] += 1
            tally.answered_by[response.headers.get("Shop", "neither")] += 1
    except (aiohttp.ClientError, TimeoutError) as error:
        tally.unanswered[type(error).__name__] += 1


async def visit(
    url: str, rate: float, visitors: int, seconds: float | None, stop: asyncio.Event, seed: int = 1
) -> Tally:
    """Send requests until `stop` is set or the time is over, then wait for the last answers."""
    tally = Tally()
    crowd = [Visitor(f"v{n + 1}", random.Random(f"{seed} {n}")) for n in range(visitors)]
    chance = random.Random(seed)
    clock = asyncio.get_running_loop().time
    ends_at = clock() + seconds if seconds is not None else float("inf")
    next_at = clock()
    in_flight: set[asyncio.Task[None]] = set()
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_IN_FLIGHT),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=TIMEOUT,
        ) as session,
        asyncio.TaskGroup() as group,
    ):
        while not stop.is_set() and clock() < ends_at:
            if len(in_flight) < MAX_IN_FLIGHT:
                task = group.create_task(send(session, url, chance.choice(crowd), tally))
                in_flight.add(task)
                task.add_done_callback(in_flight.discard)
            else:
                tally.left_out += 1
            # A source that was held up goes on at its rate and does not catch up in a burst.
            next_at = max(next_at + 1 / rate, clock() - 1 / rate)
            wait_s = min(next_at, ends_at) - clock()
            try:
                async with asyncio.timeout(max(wait_s, 0)):
                    await stop.wait()
            except TimeoutError:
                continue
    return tally


async def run(asked: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tally = await visit(asked.url, asked.rate, asked.visitors, asked.seconds, stop)
    print(tally.as_json(), flush=True)


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 10_000:
        raise ValueError(text)
    return value


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.traffic", description="Visitors.")
    parser.add_argument("--url", required=True, help="of the shop, or of the proxy before it")
    parser.add_argument("--rate", type=positive, default=40.0, help="requests a second")
    parser.add_argument("--visitors", type=int, default=60, choices=range(1, 1001), metavar="N")
    parser.add_argument("--seconds", type=positive, default=None)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
