"""Requests of several servers to one client: their ids and progress tokens collide, so each gets a number of ours.

On the way back the server finds its own again (JSON-RPC 2.0 §4; 2025-11-25, Progress).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ..errors import Unavailable, error_response
from ..messages import Notification, ProgressToken, Request, RequestId, Response, number_request, replace_response_id
from ..outbox import encode
from ..own_messages import cancelled_notification
from ..splice import splice
from ..translation import Related
from .switchboard import Switchboard

_MOST: Final = 1000
"""Questions of one server that wait for an answer."""


class _Question(NamedTuple):
    server: str
    id: RequestId
    token: ProgressToken | None


class Questions:
    """What the servers have asked, and the client has not answered yet."""

    def __init__(self, switchboard: Switchboard) -> None:
        self._switchboard = switchboard
        self._open: dict[int, _Question] = {}
        self._asked = 0

    def ask(self, server: str, request: Request, request_id: RequestId | None) -> None:
        """Pass a question on, as part of the client's request `request_id`, if it is known to be part of one."""
        if sum(question.server == server for question in self._open.values()) >= _MOST:
            error = Unavailable(f"{request.method}: {_MOST} requests of this server wait for an answer, the limit")
            self._switchboard.to_server(server, error_response(error, request.id))
            return
        self._asked += 1
        self._open[self._asked] = _Question(server, request.id, request.progress_token)
        raw = number_request(request, self._asked)
        self._switchboard.to_client(raw if request_id is None else Related(raw, request_id))

    def take_answer(self, response: Response) -> None:
        """Pass the client's answer on to who has asked; one to no question is ignored."""
        question = self._open.pop(response.id, None) if type(response.id) is int else None
        if question is not None:
            self._switchboard.to_server(question.server, replace_response_id(response, question.id))

    def take_progress(self, notification: Notification) -> None:
        """Pass the client's progress on to who wants to know."""
        token = notification.progress_token
        question = self._open.get(token) if type(token) is int else None
        if question is not None and question.token is not None:
            raw = splice(notification.raw, {("params", "progressToken"): encode(question.token)})
            self._switchboard.to_server(question.server, raw)

    def withdraw(self, server: str, notification: Notification) -> None:
        """Pass on that a server wants no answer any more."""
        for number, question in self._open.items():
            if question == (server, notification.cancelled_id, question.token):
                del self._open[number]
                raw = splice(notification.raw, {("params", "requestId"): encode(number)})
                self._switchboard.to_client(raw)
                return

    def drop(self, server: str) -> None:
        """Withdraw all that a server has asked that has ended."""
        for number in [number for number, question in self._open.items() if question.server == server]:
            del self._open[number]
            self._switchboard.to_client(cancelled_notification(number, f"{server} has ended"))
