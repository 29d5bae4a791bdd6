"""`banyan demo`: two shops, visitors, and the proxy between them, with a live table of routes.

Rules: everything it starts is a child process that it ends, whatever happens; what they write goes
to a temporary directory that is removed; the ports are those that the configuration names.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from demo.children import Child
from proxy.cli.demoplaces import DemoError, Places, check_free, places_of, reachable
from proxy.cli.demowords import (
    Figures,
    Look,
    changes,
    figures_of,
    last_line,
    log_line,
    plain_lines,
    summary_table,
    visitors_line,
)
from proxy.cli.options import config_option
from proxy.cli.status import routes_table

START_WITHIN_S = 30.0
STOP_WITHIN_S = 8.0  # then a second SIGTERM, then SIGKILL
LAST_COUNTS_WITHIN_S = 2.0
LOOK_EVERY_S = 0.5
FIRST_PLAIN_AFTER_S = 2.0
PLAIN_EVERY_S = 5.0
LOG_LINES_A_LOOK = 5
ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=2)
WIDTH_OFF_A_TERMINAL = 100

EXAMPLES = """
Examples:

\b
  banyan demo
  banyan demo --seconds 20
  DEMO_SECONDS=20 make demo
"""


@click.command("demo", epilog=EXAMPLES)
@config_option("The routes to serve; the shops listen where its backends legacy and new are.")
@click.option(
    "--seconds",
    type=click.FloatRange(1, 86_400),
    envvar="DEMO_SECONDS",
    metavar="N",
    help="End after that long (or DEMO_SECONDS). Default: until Ctrl-C.",
)
@click.option(
    "--rate",
    type=click.FloatRange(1, 1_000),
    default=40.0,
    show_default=True,
    metavar="N",
    help="Requests that the visitors send a second.",
)
def command(config_path: Path, seconds: float | None, rate: float) -> None:
    """Run Banyan between two small shops that differ on purpose, with visitors who use them.

    Edit the routes file meanwhile and see the change take hold. Ctrl-C ends all of it. Exits 1 if
    something could not start or died.
    """
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, width=WIDTH_OFF_A_TERMINAL)
    try:
        places = places_of(config_path)
        check_free(places)
        with tempfile.TemporaryDirectory(prefix="banyan-demo-") as data:
            asyncio.run(Demo(places, config_path, rate, Path(data), console).run(seconds))
    except DemoError as error:
        raise click.ClickException(str(error)) from None


class Demo:
    """The children and what is said about them."""

    def __init__(
        self, places: Places, config_path: Path, rate: float, data: Path, console: Console
    ) -> None:
        self._places = places
        self._config_path = config_path
        self._data = data
        self._console = console
        self._legacy = Child("legacy shop")
        self._new = Child("new shop")
        self._serve = Child("banyan serve", self._heard)
        self._visitors = Child("visitors")
        # In the order in which they are ended: nobody is left asking somebody who is gone.
        self._children = (self._visitors, self._serve, self._legacy, self._new)
        self._rate = rate
        self._log_lines: list[Text] = []
        self._log_lines_left_out = 0
        self._stop = asyncio.Event()
        self._admin = f"http://{reachable(places.admin)}"

    async def run(self, seconds: float | None) -> None:
        """All of it. Raises DemoError, with everything ended all the same."""
        trouble: DemoError | None = None
        with self._signals():
            async with (
                aiohttp.ClientSession(timeout=ANSWER_TIMEOUT) as session,
                asyncio.TaskGroup() as group,
            ):
                try:
                    await self._start(session, group)
                    if not self._stop.is_set():
                        await self._show(session, seconds)
                        await self._sum_up(session)
                except DemoError as error:
                    trouble = error
                finally:
                    for child in self._children:
                        await child.stop(STOP_WITHIN_S)
        if trouble:
            raise trouble

    async def _start(self, session: aiohttp.ClientSession, group: asyncio.TaskGroup) -> None:
        python = sys.executable
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        shops = ((self._legacy, self._places.legacy), (self._new, self._places.new))
        for child, address in shops:
            shop = child.name.removesuffix(" shop")
            where = ["--host", address.host, "--port", str(address.port)]
            command = [python, "-m", "demo.shop", shop, *where, "--data", str(self._data)]
            await child.start(command, environment)
            group.create_task(child.listen())
        serve = [python, "-m", "proxy.cli.main", "serve", "--config", str(self._config_path)]
        state = {"BANYAN_STATE": f"sqlite:{self._data / 'state.db'}"}
        await self._serve.start(serve, environment | state)
        group.create_task(self._serve.listen())
        for child, address in shops:
            await self._until_ready(session, child, f"http://{address}/healthz")
        await self._until_ready(session, self._serve, f"{self._admin}/readyz")
        proxy = f"http://{reachable(self._places.proxy)}"
        visitors = [python, "-m", "demo.traffic", "--url", proxy, "--rate", str(self._rate)]
        await self._visitors.start(visitors, environment)
        group.create_task(self._visitors.listen())

    async def _until_ready(self, session: aiohttp.ClientSession, child: Child, url: str) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        while not self._stop.is_set():
            self._check_children()
            if time.monotonic() > deadline:
                raise DemoError(f"{_last_words(child)}\nIt was not ready at {url} in time.")
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await self._pause(0.05)

    def _check_children(self) -> None:
        for child in self._children:
            if child.is_lost:
                raise DemoError(
                    f"{_last_words(child)}\nThe demo ends here: {child.name} ended by itself "
                    f"with exit code {child.exit_code}."
                )

    async def _show(self, session: aiohttp.ClientSession, seconds: float | None) -> None:
        """The table, and a line for everything that changes, until it is time to end."""
        started = time.monotonic()
        look = await self._look(session)
        if look is None:
            raise DemoError(f"The admin API at {self._admin} does not answer.")
        self._introduce()
        next_plain = started + FIRST_PLAIN_AFTER_S
        with self._live() as live:
            while not self._stop.is_set():
                elapsed = time.monotonic() - started
                if seconds is not None and elapsed >= seconds:
                    return
                self._check_children()
                if after := await self._look(session):
                    for line in changes(look, after):
                        self._say(line)
                    look = after
                self._say_log_lines()
                if live:
                    live.update(self._frame(look, elapsed), refresh=True)
                elif time.monotonic() >= next_plain:
                    next_plain += PLAIN_EVERY_S
                    for plain in plain_lines(look.routes["routes"]):
                        self._say(Text(f"{elapsed:4.0f} s  {plain}"))
                left = LOOK_EVERY_S if seconds is None else min(LOOK_EVERY_S, seconds - elapsed)
                await self._pause(left)

    def _introduce(self) -> None:
        proxy, places = reachable(self._places.proxy), self._places
        self._say(Text(f"proxy       http://{proxy}/api/products/p1", "bold"))
        self._say(Text(f"admin       {self._admin}/"))
        self._say(Text(f"legacy shop http://{places.legacy}/    new shop http://{places.new}/"))
        self._say(
            Text(f"Edit {self._config_path} and save it: the change shows here. Ctrl-C ends all.")
        )

    @contextlib.contextmanager
    def _live(self) -> Iterator[Live | None]:
        if not self._console.is_terminal:
            yield None
            return
        with Live(console=self._console, auto_refresh=False, vertical_overflow="crop") as live:
            yield live

    def _frame(self, look: Look, elapsed: float) -> Group:
        state = f"{elapsed:.0f} s   generation {look.config['generation']}"
        return Group("", routes_table(look.routes), Text(state, "dim"))

    async def _look(self, session: aiohttp.ClientSession) -> Look | None:
        """What the admin API says now, or None while nobody answers (it is being restarted)."""
        try:
            return Look(
                await _json(session, f"{self._admin}/api/v1/routes"),
                await _json(session, f"{self._admin}/api/v1/config"),
            )
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    async def _sum_up(self, session: aiohttp.ClientSession) -> None:
        """End the visitors, wait until all they did is counted, and say what it was."""
        await self._visitors.stop(STOP_WITHIN_S)
        tally = _tally(self._visitors)
        look = await self._look(session)
        figures = await self._last_figures(session, sum(tally["statuses"].values()))
        self._say_log_lines()
        if look is None or figures is None:
            raise DemoError(f"{_last_words(self._serve)}\nThe admin API does not answer any more.")
        self._say(Text())
        self._console.print(summary_table(figures, look.routes["routes"]))
        self._say(Text(f"\n{visitors_line(tally)}"))
        if not tally["statuses"]:
            raise DemoError("No visitor got an answer.")

    async def _last_figures(self, session: aiohttp.ClientSession, answered: int) -> Figures | None:
        """The counters once they hold every answered request (or after a while all the same)."""
        figures: Figures | None = None
        deadline = time.monotonic() + LAST_COUNTS_WITHIN_S
        while time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"{self._admin}/metrics") as response:
                    figures = figures_of(await response.text())
            if figures and figures.client_requests >= answered:
                break
            await asyncio.sleep(0.1)
        return figures

    def _heard(self, _name: str, line: str) -> None:
        if text := log_line(line):
            if len(self._log_lines) < LOG_LINES_A_LOOK:
                self._log_lines.append(text)
            else:
                self._log_lines_left_out += 1

    def _say_log_lines(self) -> None:
        for line in self._log_lines:
            self._say(line)
        if self._log_lines_left_out:
            self._say(Text(f"and {self._log_lines_left_out} more such lines", "dim"))
        self._log_lines.clear()
        self._log_lines_left_out = 0

    def _say(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)
        self._console.file.flush()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self._stop.wait()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT, SIGTERM and the end of the terminal end the demo; a second one hurries."""
        loop = asyncio.get_running_loop()

        def end() -> None:
            if self._stop.is_set():
                for child in self._children:
                    child.hurry()
            self._stop.set()

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, end)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


async def _json(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url) as response:
        response.raise_for_status()
        return dict(await response.json())


def _tally(visitors: Child) -> dict[str, Any]:
    """The last line of the visitors, or an empty tally if they were ended before it."""
    with contextlib.suppress(IndexError, ValueError):
        return dict(json.loads(visitors.last_lines[-1]))
    return {"sent": 0, "statuses": {}, "answered_by": {}, "unanswered": {}, "left_out": 0}


def _last_words(child: Child) -> str:
    lines = "\n".join(f"  {last_line(line)}" for line in child.last_lines) or "  nothing"
    return f"The last lines of {child.name}:\n{lines}"
