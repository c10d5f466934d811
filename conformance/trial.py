"""One check run against one endpoint in one revision: what it may use, and how it comes to its verdict.

    @check(needs=("slow",))
    async def progress_increases(trial: Trial) -> None:
        '''The `progress` of each notification is greater than that of the one before.'''
        async with trial.talk() as talk:
            …
            trial.expect(values == sorted(values), "growing numbers", values)

A check passes by returning.  It fails by `expect`, by the peer's misbehaving or not speaking HTTP at all, and by taking too
long; it is skipped where the endpoint lacks what it needs.  Which sentences of the specification a check stands for, hence
in which revisions it is run and whether it fails or warns, is written in the catalogue and nowhere else.
"""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NoReturn, TypeVar

import trio

from .conversation import (
    MODERN,
    Call,
    Conversation,
    Misbehaved,
    Requests,
    Session,
    SseSession,
    open_session,
    open_sse_session,
)
from .events import WireError
from .survey import KINDS, Recipe, Survey
from .wire import Wire

Outcome = Literal["passed", "failed", "warning", "skipped"]
Level = Literal["MUST", "SHOULD"]


class Failed(Exception):
    """The endpoint did not do what was expected."""

    def __init__(self, expected: str, came: object) -> None:
        super().__init__(f"expected {expected}, got {came}")
        self.expected = expected
        self.came = str(came)


class Skipped(Exception):
    """The endpoint lacks something without which the check says nothing."""


@dataclass
class Trial:
    """What a check has at hand.

    Args:
      wire: the endpoint, with a transcript of its own.
      anonymous: the same without the credentials that the user gave.
      patience: seconds in which what must not come would have come.
    """

    wire: Wire
    anonymous: Wire
    survey: Survey
    patience: float

    @property
    def revision(self) -> str:
        """The revision that is spoken."""
        return self.survey.revision

    def expect(self, holds: bool, expected: str, came: object = "something else") -> None:
        """Fail unless something holds."""
        if not holds:
            raise Failed(expected, came)

    def skip(self, reason: str) -> NoReturn:
        """Leave without a verdict."""
        raise Skipped(reason)

    def tool(self, kind: str) -> Recipe:
        """Return a tool of a kind; without one the check is skipped."""
        recipe = self.survey.find(kind)
        if recipe is None:
            raise Skipped(f"needs {KINDS[kind]}")
        return recipe

    @asynccontextmanager
    async def talk(self, capabilities: Mapping[str, Any] | None = None) -> AsyncIterator[Conversation]:
        """Open a conversation in the revision of the trial, over whatever carries that."""
        if self.revision == MODERN:
            yield Requests(self.wire, capabilities)
        elif self.revision == "2024-11-05":
            async with open_sse_session(self.wire, capabilities) as old:
                yield old
        else:
            async with self.session(capabilities) as session:
                yield session

    def session(self, capabilities: Mapping[str, Any] | None = None, **more: Any) -> AbstractAsyncContextManager[Session]:
        """Open a session of Streamable HTTP."""
        return open_session(self.wire, self.revision, capabilities, **more)

    def sse(self, capabilities: Mapping[str, Any] | None = None, **more: Any) -> AbstractAsyncContextManager[SseSession]:
        """Open a session over HTTP with SSE."""
        return open_sse_session(self.wire, capabilities, **more)

    def requests(self, capabilities: Mapping[str, Any] | None = None) -> Requests:
        """Be a client of 2026-07-28."""
        return Requests(self.wire, capabilities)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Fail if the block takes longer."""
        with trio.move_on_after(seconds) as scope:
            yield
        self.expect(not scope.cancelled_caught, f"an answer within {seconds:g} s", "none")

    async def hear_out(self, call: Call) -> None:
        """Read on to the response, to the end, or until the call, which has always something to report, falls silent."""
        while call.response is None:
            with trio.move_on_after(1 + 2 * self.patience) as silence:
                if await call.next_message() is None:
                    return
            if silence.cancelled_caught:
                return

    def waiting(self) -> trio.CancelScope:
        """A scope for waiting for what must not come."""
        return trio.move_on_after(self.patience)


CheckFunction = Callable[[Trial], Awaitable[None]]
FunctionT = TypeVar("FunctionT", bound=CheckFunction)


@dataclass(frozen=True)
class Check:
    """A check: `area.name` from its module and its function, and its docstring."""

    name: str
    about: str
    run: CheckFunction
    needs: tuple[str, ...] = ()


CHECKS: Final[dict[str, Check]] = {}


def check(*, needs: tuple[str, ...] = ()) -> Callable[[FunctionT], FunctionT]:
    """Make a check of a function.

    Args:
      needs: the kinds of tools without which it is skipped (`survey.KINDS`).
    """

    def register(function: FunctionT) -> FunctionT:
        area = function.__module__.rpartition(".")[2].replace("_", "-")
        name = f"{area}.{getattr(function, '__name__', '').replace('_', '-')}"
        about = " ".join((function.__doc__ or "").partition("\n\n")[0].split())
        CHECKS[name] = Check(name, about, function, needs)
        return function

    return register


@dataclass(frozen=True)
class Verdict:
    """What became of one check in one revision; `expected`, `came` and `sent` say why, if it did not pass."""

    check: str
    revision: str
    level: Level
    outcome: Outcome
    seconds: float = 0.0
    expected: str = ""
    came: str = ""
    transcript: tuple[str, ...] = field(default=(), repr=False)


async def run_check(check: Check, level: Level, trial: Trial, time_limit: float) -> Verdict:
    """Run one check and judge it."""
    trial = replace(
        trial,
        wire=replace(trial.wire, transcript=[]),
        anonymous=replace(trial.anonymous, transcript=[]),
    )
    started = trio.current_time()
    outcome: Outcome = "passed"
    expected = came = ""
    try:
        for kind in check.needs:
            trial.tool(kind)
        with trio.fail_after(time_limit):
            await check.run(trial)
    except* Skipped as group:
        outcome, came = "skipped", str(_first(group))
    except* (Failed, Misbehaved) as group:
        leaf = _first(group)
        assert isinstance(leaf, Failed | Misbehaved)
        outcome, expected, came = _bad(level), leaf.expected, leaf.came
    except* trio.TooSlowError:
        outcome, expected, came = _bad(level), f"an end within {time_limit:g} s", "none"
    except* (WireError, OSError) as group:
        outcome, expected, came = _bad(level), "an HTTP response", str(_first(group))
    except* Exception as group:  # A check that breaks on what came has not shown that the rule holds.
        outcome, expected = _bad(level), "an answer that the check can read"
        came = "".join(traceback.format_exception(_first(group))[-3:])
    transcript = tuple(trial.wire.transcript + trial.anonymous.transcript)
    return Verdict(check.name, trial.revision, level, outcome, trio.current_time() - started, expected, came, transcript)


def _bad(level: Level) -> Outcome:
    return "failed" if level == "MUST" else "warning"


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    return next(_leaves(group))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
