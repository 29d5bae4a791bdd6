"""Comparators of the user's own, each in a child process that may raise, hang or die.

`python -P -m proxy.observe.custom_host package.module:name` reads questions from its standard
input and answers on a descriptor of its own; what the comparator prints goes nowhere. The other
end is `CustomComparator`, synchronous like the comparer that uses it: no answer in time, or one
that is none, is the comparator's failure, the child is killed, and started again with back-off.
"""

import contextlib
import importlib
import os
import select
import signal
import subprocess
import sys
import time
from typing import BinaryIO, Final

import msgspec

from comparators.custom import run_custom
from comparators.model import ABSENT, Answer, Comparison, Difference, Kind, Outcome, Rules

MAX_REPLY_BYTES: Final = 4 << 20
START_TIMEOUT_S: Final = 10.0
FIRST_BACK_OFF_S: Final = 0.1
LONGEST_BACK_OFF_S: Final = 30.0
SHOWN_CHARACTERS: Final = 200
_HEADER_BYTES: Final = 4


class _Question(msgspec.Struct, frozen=True, array_like=True):
    legacy: Answer
    new: Answer
    rules: Rules


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    """A Difference on its way; what is absent is left out, since null is a value."""

    path: str
    kind: Kind
    values: dict[str, msgspec.Raw]


class _Reply(msgspec.Struct, frozen=True, array_like=True):
    outcome: Outcome
    differences: list[_Entry] = []
    truncated: bool = False
    detail: str = ""


class CustomComparator:
    """One comparator of the user's own. `search_path`: where its module is looked for first."""

    def __init__(self, import_path: str, timeout_s: float, search_path: str | None = None) -> None:
        self.import_path = import_path
        self._timeout_s = timeout_s
        self._search_path = search_path
        self._child: subprocess.Popen[bytes] | None = None
        self._replies = -1  # the descriptor on which the child answers
        self._failures = 0
        self._start_at = 0.0
        self._last_failure = ""

    def compare(self, legacy: Answer, new: Answer, rules: Rules) -> Comparison:
        """What it says, or its failure; never longer than the time it has."""
        if self._child is None and time.monotonic() < self._start_at:
            return self._failed(f"{self._last_failure}; it is started again in a moment")
        try:
            if self._child is None:
                self._start()
            reply = self._ask(_Question(legacy, new, rules))
        except (OSError, _NoReplyError, msgspec.MsgspecError) as error:
            self._last_failure = str(error) or type(error).__name__
            self.close()
            self._failures += 1
            back_off = FIRST_BACK_OFF_S * 2.0 ** min(self._failures - 1, 10)
            self._start_at = time.monotonic() + min(back_off, LONGEST_BACK_OFF_S)
            return self._failed(self._last_failure)
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
        child, self._child = self._child, None
        if child is not None:
            # It leads a group: what it has started itself goes with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            assert child.stdin is not None
            with contextlib.suppress(OSError):
                child.stdin.close()
            child.wait()
            os.close(self._replies)

    def _start(self) -> None:
        self._replies, theirs = os.pipe()
        environment = dict(os.environ)
        if self._search_path is not None:
            paths = [self._search_path, environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, self.import_path, str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs,),
                env=environment,
                start_new_session=True,
            )
        except OSError:
            os.close(self._replies)
            raise
        finally:
            os.close(theirs)
        os.set_blocking(self._replies, False)
        assert self._child.stdin is not None
        os.set_blocking(self._child.stdin.fileno(), False)
        hello = self._reply(time.monotonic() + START_TIMEOUT_S)
        if hello.outcome is Outcome.COMPARATOR_FAILED:
            raise _NoReplyError(hello.detail)

    def _ask(self, question: _Question) -> _Reply:
        until = time.monotonic() + self._timeout_s
        assert self._child is not None
        assert self._child.stdin is not None
        body = msgspec.msgpack.encode(question)
        left = memoryview(len(body).to_bytes(_HEADER_BYTES, "big") + body)
        while left:
            _wait(self._child.stdin.fileno(), until, writing=True)
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._child.stdin.fileno(), left) :]
        return self._reply(until)

    def _reply(self, until: float) -> _Reply:
        size = int.from_bytes(self._read(_HEADER_BYTES, until), "big")
        if size > MAX_REPLY_BYTES:
            raise _NoReplyError(f"its answer has more than {MAX_REPLY_BYTES} bytes")
        return msgspec.msgpack.decode(self._read(size, until), type=_Reply)

    def _read(self, size: int, until: float) -> bytes:
        data = b""
        while len(data) < size:
            _wait(self._replies, until, writing=False)
            with contextlib.suppress(BlockingIOError):
                piece = os.read(self._replies, size - len(data))
                if not piece:
                    raise _NoReplyError("its process ended")
                data += piece
        return data

    def _failed(self, detail: str) -> Comparison:
        shown = f"{self.import_path}: {detail}"[:SHOWN_CHARACTERS]
        return Comparison(Outcome.COMPARATOR_FAILED, self.import_path, detail=shown)


class _NoReplyError(Exception):
    """The child did not answer as it should; the text says how."""


def _wait(descriptor: int, until: float, *, writing: bool) -> None:
    left = until - time.monotonic()
    reading = [] if writing else [descriptor]
    if left <= 0 or not any(select.select(reading, [descriptor] if writing else [], [], left)):
        raise _NoReplyError("it took too long")


def main(import_path: str, descriptor: int) -> int:
    """The child: answer until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = os.fdopen(descriptor, "wb")
    questions = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    module, _, name = import_path.partition(":")
    try:
        call = getattr(importlib.import_module(module), name)
    except Exception as error:
        # Whatever its import does is the comparator's failure, in words for the user.
        _say(replies, _Reply(Outcome.COMPARATOR_FAILED, detail=f"cannot be imported: {error}"))
        return 1
    _say(replies, _Reply(Outcome.EQUAL))
    decoder = msgspec.msgpack.Decoder(_Question)
    while header := questions.read(_HEADER_BYTES):
        question = decoder.decode(questions.read(int.from_bytes(header, "big")))
        try:
            found = run_custom(call, import_path, question.legacy, question.new, question.rules)
            entries = [_entry(each) for each in found.differences]
            _say(replies, _Reply(found.outcome, entries, found.truncated, found.detail))
        except Exception as error:
            # The type alone: the text may quote the bodies.
            detail = f"raised {type(error).__name__}"
            _say(replies, _Reply(Outcome.COMPARATOR_FAILED, detail=detail))
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
