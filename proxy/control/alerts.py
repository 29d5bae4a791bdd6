"""Webhooks: what people want to be woken for, posted to where they said.

Each webhook has a queue and a task of its own, so that one that hangs holds up no other. What does
not fit, or is not taken in time, is dropped and counted. What waits is in the spool too: the next
controller goes on with it, so that a message may come twice, with the same id. A receiver is
believed in nothing: its answer is not read, no redirect of it is followed, its wish to wait is
followed up to a bound.
Addresses may hold secrets (Slack's do): only scheme and host are ever told.
"""

import asyncio
import contextlib
import hashlib
import hmac
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import aiohttp
import msgspec
from yarl import URL

from proxy.config import Alert, Finding
from proxy.control.spool import Spool
from proxy.observe.otlp import Backoff, failure_word, retry_after_s
from proxy.store.records import Transition

MAX_QUEUED: Final = 256
# Of the kinds of history: the event of `alerts` that they are.
EVENTS: Final = {
    "revert": "revert",
    "refused": "revert",
    "advance": "advance",
    "ready": "advance",
    "missed": "journal",
}
RETRYABLE: Final = frozenset((408, 425, 429))


class Notice(msgspec.Struct, frozen=True):
    """Something to tell. `event` is "revert" (refused ones too), "advance", "journal", "config"."""

    at: float  # seconds since the epoch
    event: str
    route: str | None
    title: str
    text: str
    fields: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a webhook is tried, in seconds."""

    attempt_s: float = 5.0
    first_retry_s: float = 1.0
    longest_retry_s: float = 120.0
    give_up_s: float = 900.0
    at_the_end_s: float = 1.0  # for what is queued when the controller ends


@dataclass(eq=False, slots=True)
class _Waiting:
    """A message on its way to one webhook."""

    id: str
    notice: Notice
    since: float  # on the clock
    serial: int | None  # in the spool


_kept_as = msgspec.json.Decoder(tuple[str, Notice]).decode


class Log(Protocol):
    """What is needed of a structlog logger."""

    def warning(self, event: str, **fields: Any) -> Any: ...


class Alerts:
    """Tells the webhooks that are configured. Everything but `run` is quick and never waits."""

    def __init__(
        self,
        log: Log,
        patience: Patience | None = None,
        spool: Spool | None = None,
        key: bytes = b"",
    ) -> None:
        # "delivered", "retried", "dropped_..." by reason; "taken_over" from the controller before,
        # "not_kept" in the spool: they wait in memory alone.
        self.counts: Counter[str] = Counter()
        self._spool = spool
        self._key = key  # of the marks of webhooks
        self._left: dict[str, deque[_Waiting]] = {}  # of the controller before, by their marks
        if spool is not None:
            self._take_over(spool)
        self.log = log
        self.patience = patience or Patience()
        self._hooks: dict[Alert, _Hook] = {}
        self._changed = asyncio.Event()

    def configure(self, alerts: Sequence[Alert]) -> None:
        """The webhooks from now on; an address that stays keeps what is queued for it."""
        before = self._hooks
        # Several may have been at one address: each queue goes on, or is counted.
        left = [(alert.url, hook.queue) for alert, hook in before.items() if alert not in alerts]
        self._hooks = {}
        at_address: Counter[str] = Counter()
        for alert in dict.fromkeys(alerts):
            mark = mark_of(self._key, alert.url, at_address[alert.url])
            at_address[alert.url] += 1
            hook = before.get(alert)
            if hook is None:
                at = next((at for at, (url, _) in enumerate(left) if url == alert.url), None)
                queue = left.pop(at)[1] if at is not None else self._left.pop(mark, deque())
                hook = _Hook(alert, mark, queue, self)
            self._hooks[alert] = hook
        for queue in [*(queue for _, queue in left), *self._left.values()]:
            for waiting in queue:
                self.ended(waiting, "dropped_removed")
        self._left = {}
        self._changed.set()

    def tell(self, notice: Notice) -> None:
        """Have it posted to every webhook that wants such events."""
        id = id_of(notice)
        for alert, hook in self._hooks.items():
            if notice.event in alert.events:
                hook.put(_Waiting(id, notice, time.monotonic(), self._kept(hook.mark, id, notice)))

    def tell_low_coverage(self, route: str, coverage: float, wanted: float) -> None:
        """Too little of a route is compared for it to advance."""
        self.log.warning("coverage is low", route=route, coverage=coverage, wanted=wanted)
        self.tell(low_coverage(route, coverage, wanted, time.time()))

    async def run(self) -> None:
        """Deliver until cancelled, and for a moment after that."""
        tasks: dict[_Hook, asyncio.Task[None]] = {}
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            try:
                async with asyncio.TaskGroup() as group:
                    while True:
                        self._changed.clear()
                        wanted = set(self._hooks.values())
                        for hook in [each for each in tasks if each not in wanted]:
                            tasks.pop(hook).cancel()
                        for hook in wanted - tasks.keys():
                            tasks[hook] = group.create_task(hook.deliver(session))
                        await self._changed.wait()
            finally:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.patience.at_the_end_s):
                        await asyncio.gather(*(hook.flush(session) for hook in tasks))
                for hook in tasks:
                    # The others wait for the next controller.
                    lost = sum(waiting.serial is None for waiting in hook.queue)
                    self.counts["dropped_at_the_end"] += lost

    def ended(self, waiting: _Waiting, outcome: str) -> None:
        """It is owed no more."""
        self.counts[outcome] += 1
        if self._spool is not None and waiting.serial is not None:
            self._spool.done(waiting.serial)

    def _kept(self, mark: str, id: str, notice: Notice) -> int | None:
        """Its serial in the spool."""
        if self._spool is None:
            return None
        try:
            serial = self._spool.put(mark, msgspec.json.encode((id, notice)))
        except ValueError:  # text that is no UTF-8
            serial = None
        if serial is None:
            self.counts["not_kept"] += 1
        return serial

    def _take_over(self, spool: Spool) -> None:
        """What the controller before this one did not deliver gets as long as anything new."""
        for serial, mark, text in spool.left:
            try:
                id, notice = _kept_as(text)
            except msgspec.MsgspecError:
                self.counts["dropped_unreadable"] += 1
                spool.done(serial)
                continue
            waiting = _Waiting(id, notice, time.monotonic(), serial)
            self._left.setdefault(mark, deque()).append(waiting)
            self.counts["taken_over"] += 1


class _Hook:
    """One webhook and what waits for it."""

    def __init__(
        self,
        alert: Alert,
        mark: str,
        queue: "deque[_Waiting]",
        owner: Alerts,
    ) -> None:
        self.mark = mark
        self.queue = queue
        self._alert = alert
        self._owner = owner
        self._patience = owner.patience
        self._counts = owner.counts
        self._log = owner.log
        self._filled = asyncio.Event()
        url = URL(alert.url)
        self._shown = str(url.origin())
        self._headers = {"Content-Type": "application/json", "User-Agent": "banyan"}
        if url.user is not None or url.password is not None:
            self._headers["Authorization"] = aiohttp.encode_basic_auth(
                url.user or "", url.password or ""
            )
        self._url = url.with_user(None)

    def put(self, waiting: _Waiting) -> None:
        if len(self.queue) >= MAX_QUEUED:
            self._owner.ended(self.queue.popleft(), "dropped_queue")
        self.queue.append(waiting)
        self._filled.set()

    async def deliver(self, session: aiohttp.ClientSession) -> None:
        """Post what comes, one after the other, each until it is taken or given up."""
        patience = self._patience
        backoff = Backoff(patience.first_retry_s, patience.longest_retry_s)
        while True:
            while not self.queue:
                self._filled.clear()
                await self._filled.wait()
            head = self.queue[0]
            failure, wait_s = await self._post(session, head)
            if not failure:
                self._done(head, "delivered")
                backoff.reset()
            elif wait_s is None:
                self._done(head, "dropped_refused")
                self._log.warning("alert refused", webhook=self._shown, reason=failure)
                backoff.reset()  # it answers
            elif time.monotonic() - head.since >= patience.give_up_s:
                self._done(head, "dropped_in_vain")
                self._log.warning("alert given up", webhook=self._shown, reason=failure)
            else:
                self._counts["retried"] += 1
                self._log.warning("alert not delivered yet", webhook=self._shown, reason=failure)
                await asyncio.sleep(max(wait_s, backoff.next_s()))

    async def flush(self, session: aiohttp.ClientSession) -> None:
        """One try for each that waits."""
        for head in list(self.queue):
            failure, _ = await self._post(session, head)
            if not failure:
                self._done(head, "delivered")

    def _done(self, head: _Waiting, outcome: str) -> None:
        if head in self.queue:  # it may have been pushed out meanwhile
            self.queue.remove(head)
        self._owner.ended(head, outcome)

    async def _post(
        self, session: aiohttp.ClientSession, head: _Waiting
    ) -> tuple[str, float | None]:
        """Why it was not taken, if it was not, and how long to wait at least; None: for ever."""
        try:
            body = body_of(self._alert.format, head.id, head.notice)
            headers = {**self._headers, **signature(self._alert.secret, body, time.time())}
        except ValueError:  # text that is no UTF-8
            return "cannot be written", None
        timeout = aiohttp.ClientTimeout(total=self._patience.attempt_s)
        try:
            async with session.post(
                self._url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                status = answer.status
                asked_s = retry_after_s(answer.headers.get("Retry-After", ""))
                answer.close()  # whatever it says is not read
        except TimeoutError:
            return "timeout", 0.0
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return failure_word(error), 0.0
        if 200 <= status < 300:
            return "", None
        is_worth_it = status in RETRYABLE or status >= 500
        return f"status {status}", asked_s if is_worth_it else None


def mark_of(key: bytes, url: str, number: int) -> str:
    """What stands for a webhook where its address may not: of those at one address the `number`."""
    return hmac.new(key, f"{number} {url}".encode(), hashlib.sha256).hexdigest()[:24]


def id_of(notice: Notice) -> str:
    """The same for what is told again, also by another controller."""
    said = (repr(notice.at), notice.event, notice.route or "", notice.title, notice.text)
    text = "\0".join(said).encode(errors="backslashreplace")
    return hashlib.blake2b(text, digest_size=12).hexdigest()


def notice_of(line: Transition) -> Notice | None:
    """What is told of a line of history; None where nobody is to be woken for it."""
    event = EVENTS.get(line.kind)
    if event is None:
        return None
    if line.kind == "missed":
        title = f"{line.route}: {line.after} lacks writes"
    elif line.kind == "refused":
        title = f"{line.route} is failing at {line.before} and cannot be taken back"
    elif line.kind == "ready":
        title = f"{line.route} is ready to be removed"
    else:
        done = "was reverted" if line.kind == "revert" else "advanced"
        title = f"{line.route} {done}: {line.before} to {line.after}"
    fields = {"from": line.before, "to": line.after, "by": line.by, "reason": line.reason}
    text = line.reason
    if line.evidence:
        fields["evidence"] = line.evidence
        text += f": {line.evidence}"
    if line.patch:
        fields["patch"] = line.patch
        text += (
            f" It stays there until `banyan resume {line.route}`; to keep it, write "
            f"`{line.patch}` for this route in routes.yaml."
        )
    return Notice(line.at, event, line.route, title, text, fields)


def low_coverage(route: str, coverage: float, wanted: float, now: float) -> Notice:
    """What is told of a route that cannot advance since too little of it is compared."""
    return Notice(
        now,
        "advance",
        route,
        f"{route} cannot advance: its coverage is low",
        f"{coverage:.2%} of the reads that could be compared were, and `min_coverage` is "
        f"{wanted:.2%}: `skipped` in `banyan status --route {route} --json` says why.",
        {"coverage": f"{coverage:.2%}", "min_coverage": f"{wanted:.2%}"},
    )


def refused_edit(file: str, findings: Sequence[Finding], now: float) -> Notice:
    """What is told of an edit that was refused."""
    errors = [str(each) for each in findings if each.severity == "error"]
    text = f"{errors[0] if errors else 'it cannot be used'}"
    if len(errors) > 1:
        text += f" (and {len(errors) - 1} more)"
    return Notice(
        now, "config", None, f"{file} is refused, the table before it stays in force", text
    )


def body_of(form: str, id: str, notice: Notice) -> bytes:
    """The message as it is posted: our own form, or Slack's."""
    if form == "slack":
        return msgspec.json.encode({"text": f"*{_slack(notice.title)}*\n{_slack(notice.text)}"})
    return msgspec.json.encode(
        {
            "version": 1,
            "id": id,  # the same in each try
            "at": datetime.fromtimestamp(notice.at, UTC),
            "event": notice.event,
            "route": notice.route,
            "title": notice.title,
            "text": notice.text,
            "fields": notice.fields,
        }
    )


def signature(secret: str | None, body: bytes, now: float) -> dict[str, str]:
    """The headers by which a receiver knows that a message is ours, and new."""
    if not secret:
        return {}
    moment = str(int(now))
    digest = hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256)
    return {"Banyan-Timestamp": moment, "Banyan-Signature": f"v1={digest.hexdigest()}"}


def _slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
