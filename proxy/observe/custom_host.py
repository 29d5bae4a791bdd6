"""Comparators of the user's own, each in a child process that may raise, hang or die.

`python -P -m proxy.observe.custom_host package.module:name` reads questions from its standard
input and answers on a descriptor of its own; what the comparator prints goes nowhere. The other
end is `CustomComparator`, synchronous like the comparer that uses it: no answer in time, or one
that is none, is the comparator's failure, the child is killed, and started again with back-off.

No answer is ever taken for that to another question: each carries the number of its question, and
a child whose question was broken off, by whatever was raised meanwhile, is killed with its pipe. A
module that takes longer to import than one comparison may wait goes on being imported; until it
is there, comparisons fail.
"""

import contextlib
import importlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

from comparators.custom import run_custom
from comparators.model import ABSENT, Answer, Comparison, Difference, Kind, Outcome, Rules

MAX_REPLY_BYTES: Final = 4 << 20
START_TIMEOUT_S: Final = 30.0  # to be imported
POLL_S: Final = 0.001
FIRST_BACK_OFF_S: Final = 0.1
LONGEST_BACK_OFF_S: Final = 30.0
SHOWN_CHARACTERS: Final = 200
_HEADER_BYTES: Final = 4
_HELLO: Final = 0  # the number of the reply that says that it is imported; questions follow from 1


class _Question(msgspec.Struct, frozen=True, array_like=True):
    number: int
    legacy: Answer
    new: Answer
    rules: Rules


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    """A Difference on its way; what is absent is left out, since null is a value."""

    path: str
    kind: Kind
    values: dict[str, msgspec.Raw]


class _Reply(msgspec.Struct, frozen=True, array_like=True):
    number: int  # of the question
    outcome: Outcome
    differences: list[_Entry] = []
    truncated: bool = False
    detail: str = ""


class _Child:
    """One process that compares. Not used again once anything was raised while it was asked."""

    def __init__(self, import_path: str, search_path: str | None) -> None:
        self._replies, theirs = os.pipe()
        environment = dict(os.environ)
        if search_path is not None:
            paths = [search_path, environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, import_path, str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs,),
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            os.close(self._replies)
            raise
        finally:
            os.close(theirs)
        assert self._process.stdin is not None
        self._questions = self._process.stdin
        os.set_blocking(self._replies, False)
        os.set_blocking(self._questions.fileno(), False)
        self._received = bytearray()
        self._asked = 0
        self._is_asked = False  # a question is under way
        self._is_ready = False
        self._start_until = time.monotonic() + START_TIMEOUT_S

    def is_ready(self, patience_s: float) -> bool:
        """Whether it is imported, or is within that time. Raises _NoReplyError if it cannot be."""
        if not self._is_ready:
            now = time.monotonic()
            try:
                hello = self._reply(_HELLO, min(now + patience_s, self._start_until))
            except _LateError:
                if time.monotonic() >= self._start_until:
                    raise
                return False
            if hello.outcome is Outcome.COMPARATOR_FAILED:
                raise _NoReplyError(hello.detail)
            self._is_ready = True
        return True

    def ask(self, legacy: Answer, new: Answer, rules: Rules, timeout_s: float) -> _Reply:
        """Its answer to this question, and to no other one."""
        if self._is_asked:
            raise _NoReplyError("its comparison was broken off")
        self._is_asked = True
        until = time.monotonic() + timeout_s
        self._asked += 1
        body = msgspec.msgpack.encode(_Question(self._asked, legacy, new, rules))
        left = memoryview(len(body).to_bytes(_HEADER_BYTES, "big") + body)
        while left:
            _wait(self._questions.fileno(), until, writing=True)
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._questions.fileno(), left) :]
        reply = self._reply(self._asked, until)
        self._is_asked = False
        return reply

    def close(self) -> None:
        """End it."""
        # It leads a group: what it has started itself goes with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._questions.close()
        self._process.wait()
        os.close(self._replies)

    def _reply(self, number: int, until: float) -> _Reply:
        self._receive(_HEADER_BYTES, until)
        size = int.from_bytes(self._received[:_HEADER_BYTES], "big")
        if size > MAX_REPLY_BYTES:
            raise _NoReplyError(f"its answer has more than {MAX_REPLY_BYTES} bytes")
        self._receive(_HEADER_BYTES + size, until)
        reply = msgspec.msgpack.decode(self._received[_HEADER_BYTES:], type=_Reply)
        self._received.clear()
        if reply.number != number:
            raise _NoReplyError("it answered another question")
        return reply

    def _receive(self, size: int, until: float) -> None:
        """Have so many bytes of a reply. What has come stays, should the time run out."""
        while len(self._received) < size:
            _wait(self._replies, until, writing=False)
            with contextlib.suppress(BlockingIOError):
                piece = os.read(self._replies, size - len(self._received))
                if not piece:
                    raise _NoReplyError("its process ended")
                self._received += piece


class CustomComparator:
    """One comparator of the user's own.

    `timeout_s` is the time of one comparison; `search_path`: where its module is looked for first;
    `patience_s`: how long the comparison that starts it waits until it is imported, those after it
    do not.
    """

    def __init__(
        self,
        import_path: str,
        timeout_s: float,
        search_path: str | None = None,
        patience_s: float = START_TIMEOUT_S,
    ) -> None:
        self.import_path = import_path
        self._timeout_s = timeout_s
        self._search_path = search_path
        self._patience_s = patience_s
        self._child: _Child | None = None
        self._failures = 0
        self._start_at = 0.0
        self._last_failure = ""

    def compare(self, legacy: Answer, new: Answer, rules: Rules) -> Comparison:
        """What it says, or its failure; never longer than patience and time-out together.

        What is raised into it from outside, to break it off, goes through.
        """
        if self._child is None and time.monotonic() < self._start_at:
            return self._failed(f"{self._last_failure}; it is started again in a moment")
        try:
            if self._child is None:
                with _undisturbed():
                    self._child = _Child(self.import_path, self._search_path)
                is_ready = self._child.is_ready(self._patience_s)
            else:
                is_ready = self._child.is_ready(POLL_S)
            if not is_ready:
                return self._failed("it is still being imported")
            reply = self._child.ask(legacy, new, rules, self._timeout_s)
        except (OSError, _NoReplyError, msgspec.MsgspecError) as error:
            self._give_up(str(error) or type(error).__name__)
            return self._failed(self._last_failure)
        except BaseException:
            # Broken off from outside: what the child says from now on answers nothing.
            self._give_up("its comparison was broken off")
            raise
        self._failures = 0
        if reply.outcome is Outcome.COMPARATOR_FAILED:
            return self._failed(reply.detail)
        found = tuple(
            Difference(
                each.path,
                each.kind,
                *(
                    msgspec.msgpack.decode(each.values[side]) if side in each.values else ABSENT
                    for side in ("legacy", "new")
                ),
            )
            for each in reply.differences
        )
        return Comparison(reply.outcome, self.import_path, found, reply.truncated, reply.detail)

    def close(self) -> None:
        """End the child."""
        with _undisturbed():
            child, self._child = self._child, None
            if child is not None:
                child.close()

    def _give_up(self, why: str) -> None:
        """End the child, which cannot be trusted any more; another one starts with back-off."""
        self.close()
        self._last_failure = why
        self._failures += 1
        back_off = FIRST_BACK_OFF_S * 2.0 ** min(self._failures - 1, 10)
        self._start_at = time.monotonic() + min(back_off, LONGEST_BACK_OFF_S)

    def _failed(self, detail: str) -> Comparison:
        shown = f"{self.import_path}: {detail}"[:SHOWN_CHARACTERS]
        return Comparison(Outcome.COMPARATOR_FAILED, self.import_path, detail=shown)


class _NoReplyError(Exception):
    """The child did not answer as it should; the text says how."""


class _LateError(_NoReplyError):
    """It did not in time."""


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back the alarm of a comparison: a process begun and not yet known would be lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(descriptor: int, until: float, *, writing: bool) -> None:
    left = until - time.monotonic()
    reading = [] if writing else [descriptor]
    if left <= 0 or not any(select.select(reading, [descriptor] if writing else [], [], left)):
        raise _LateError("it took too long")


def main(import_path: str, descriptor: int) -> int:
    """The child: answer until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})  # held back when it was started
    replies = os.fdopen(descriptor, "wb")
    questions = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    module, _, name = import_path.partition(":")
    try:
        call = getattr(importlib.import_module(module), name)
    except Exception as error:
        # Whatever its import does is the comparator's failure, in words for the user.
        detail = f"cannot be imported: {error}"
        _say(replies, _Reply(_HELLO, Outcome.COMPARATOR_FAILED, detail=detail))
        return 1
    _say(replies, _Reply(_HELLO, Outcome.EQUAL))
    decoder = msgspec.msgpack.Decoder(_Question)
    while header := questions.read(_HEADER_BYTES):
        question = decoder.decode(questions.read(int.from_bytes(header, "big")))
        number = question.number
        try:
            found = run_custom(call, import_path, question.legacy, question.new, question.rules)
            entries = [_entry(each) for each in found.differences]
            _say(replies, _Reply(number, found.outcome, entries, found.truncated, found.detail))
        except Exception as error:
            # The type alone: the text may quote the bodies.
            detail = f"raised {type(error).__name__}"
            _say(replies, _Reply(number, Outcome.COMPARATOR_FAILED, detail=detail))
    return 0


def _entry(difference: Difference) -> _Entry:
    values = {
        side: msgspec.Raw(msgspec.msgpack.encode(value, enc_hook=str))
        for side, value in (("legacy", difference.legacy), ("new", difference.new))
        if value is not ABSENT
    }
    return _Entry(difference.path, difference.kind, values)


def _say(replies: BinaryIO, reply: _Reply) -> None:
    body = msgspec.msgpack.encode(reply)
    replies.write(len(body).to_bytes(_HEADER_BYTES, "big") + body)
    replies.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
