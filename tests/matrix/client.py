"""What a scene may ask of a client, whichever era it is of, and however it is driven.

A client keeps nothing to itself: what it is told and asked is kept for the scene, and what nobody expects is an error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import trio

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Answers a question, {"method": …, "params": …}, with {"result": …} or {"error": …}."""


class Outcome(NamedTuple):
    """What a request has come to.

    Attributes:
      status: of the HTTP response that brought it; None where nobody tells.
    """

    status: int | None
    response: dict[str, Any]

    @property
    def result(self) -> dict[str, Any]:
        """The result of a request that was served."""
        assert "result" in self.response, self
        result: dict[str, Any] = self.response["result"]
        return result

    @property
    def error(self) -> dict[str, Any]:
        """The error of one that was not."""
        assert "error" in self.response, self
        error: dict[str, Any] = self.response["error"]
        return error


async def cannot_be_asked(question: dict[str, Any]) -> dict[str, Any]:
    raise AssertionError(f"nobody is here to answer {question}")


class Client(ABC):
    """A client, and what it has heard.

    Attributes:
      questions: all that it was asked, without what belongs to an era: an id of any kind.
      introduction: the result of `initialize` or `server/discover`.
    """

    def __init__(self) -> None:
        self.questions: list[dict[str, Any]] = []
        self.introduction: dict[str, Any] = {}
        self._notifications: list[dict[str, Any]] = []
        self._heard = trio.lowlevel.ParkingLot()

    # What a feature is made of

    @abstractmethod
    async def request(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        answer: Answer = cannot_be_asked,
        *,
        token: int | str | None = None,
        request_id: int | str | None = None,
    ) -> Outcome:
        """Make a request, and answer whatever is asked in the course of it."""

    @abstractmethod
    async def cancel(self, method: str, params: dict[str, Any], once: Callable[[], Awaitable[object]]) -> None:
        """Make a request, and cancel it once something has happened."""

    @abstractmethod
    async def set_level(self, level: str) -> None:
        """Ask for log messages."""

    @abstractmethod
    def listen(self, *uris: str) -> Any:
        """Hear of all lists that change, and of these resources, for as long as the block runs."""

    async def call(self, tool: str, arguments: dict[str, Any], answer: Answer = cannot_be_asked, **more: Any) -> Outcome:
        """Call a tool."""
        return await self.request("tools/call", {"name": tool, "arguments": arguments}, answer, **more)

    async def hear(self, method: str) -> dict[str, Any]:
        """Return the params of the next notification, which has to be one of these."""
        while not self._notifications:
            await self._heard.park()
        notification = self._notifications.pop(0)
        assert notification["method"] == method, notification
        params: dict[str, Any] = notification.get("params", {})
        return params

    @property
    def unheard(self) -> list[dict[str, Any]]:
        """Notifications that nobody has asked about."""
        return list(self._notifications)

    # What they have in common

    def _take_notification(self, message: dict[str, Any]) -> None:
        assert "id" not in message, message
        self._notifications.append(message)
        self._heard.unpark_all()
