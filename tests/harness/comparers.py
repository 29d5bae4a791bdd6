"""A comparer's end of the socket in the hands of a test: takes batches, answers when told."""

import asyncio
from pathlib import Path

from proxy.core.framing import comparer_unframer, frame
from proxy.core.messages import Batch, Judged, Suspect
from tests.harness.waiting import Changes


class ComparerEnd:
    """Listens where a worker expects a comparer.

    `judging` False: batches stay under way, as do those with a suspect of the route `held`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.judging = True
        self.held = ""
        self.seconds: dict[str, float] = {}  # that suspects of a route take, as it says
        self.batches: list[Batch] = []
        self.changes = Changes()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "ComparerEnd":
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    @property
    def suspects(self) -> list[Suspect]:
        """All that came, in order."""
        return [suspect for batch in self.batches for suspect in batch.suspects]

    async def suspect(self, number: int = 0, kind: str = "read") -> Suspect:
        """The suspect of that kind with that number, once it is here."""

        def found() -> list[Suspect]:
            return [each for each in self.suspects if each.kind == kind]

        await self.changes.until(lambda: len(found()) > number, f"a suspect of kind {kind}")
        return found()[number]

    async def listen(self) -> None:
        """Be there (again)."""
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._connected, str(self.path))

    async def die(self) -> None:
        """Be gone, whatever is under way."""
        if self._server is not None:
            self._server.close()
        self.path.unlink(missing_ok=True)
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def judge_all(self) -> None:
        """Answer every batch, those to come as well."""
        self.judging = True
        self.judge(*self.batches)

    def judge(self, *batches: Batch) -> None:
        """Answer these."""
        for batch in batches:
            for writer in self._writers:
                writer.write(frame(self._judged(batch)))

    def _judged(self, batch: Batch) -> Judged:
        seconds = [self.seconds.get(route, 0.001) for route in routes_of(batch)]
        return Judged(batch.number, seconds)

    def say(self, data: bytes) -> None:
        """Send these bytes to every worker."""
        for writer in self._writers:
            writer.write(data)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.changes.notify()
        unframer = comparer_unframer()
        try:
            while data := await reader.read(1 << 16):
                for batch in unframer.feed(data):
                    self.batches.append(batch)
                    if self.judging and self.held not in routes_of(batch):
                        writer.write(frame(self._judged(batch)))
                self.changes.notify()
        except (ConnectionError, asyncio.CancelledError):
            pass


def routes_of(batch: Batch) -> list[str]:
    """The routes of its suspects, in their order."""
    return [suspect.observation.route for suspect in batch.suspects]
