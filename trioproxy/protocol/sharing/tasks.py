"""Whose the tasks of a shared server are (2025-11-25, Tasks).

A task goes on when the request that made it has been answered.  Whoever made it is known by the answer, and from then on
what names the task is theirs: its status, the questions and the logs that are related to it, its progress; and only they may
ask for it.  "Receivers MUST reject `tasks/get`, `tasks/result`, and `tasks/cancel` requests for tasks that do not belong to
the same authorization context as the requestor" (§Task Isolation and Access Control); to the server all clients are one.

`tasks/list` is refused, and was never offered (`handshake`): each client knows which tasks it has made.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import InvalidParams, MethodNotFound, ParseError, error_response
from ..messages import Message, Request, Response, parse_result
from ..outbox import encode
from .clients import Client, Outbox
from .flights import Flight, Flights

PREFIX: Final = "tasks/"
TASK_STATUS: Final = "notifications/tasks/status"
MAX_TASKS: Final = 1000
"""Tasks of one client that are known; of more, the oldest are forgotten."""

_RELATED: Final = "io.modelcontextprotocol/related-task"


class Tasks:
    """The tasks of all clients, by their ids."""

    def __init__(self, outbox: Outbox, flights: Flights) -> None:
        self._outbox = outbox
        self._flights = flights
        self._made: dict[str, Flight] = {}
        self._by_number: dict[int, Flight] = {}
        self._of_client: dict[Client, dict[str, None]] = {}

    def note(self, flight: Flight, response: Response) -> None:
        """Note the task that a response brings, if it does."""
        try:
            result = None if response.is_error else parse_result(response)
        except ParseError:
            return
        task = result.get("task") if type(result) is dict else None
        task_id = task.get("taskId") if type(task) is dict else None
        client = flight.client
        if client is None or type(task_id) is not str or task_id in self._made:
            return
        if client.has_left:
            self._cancel(task_id)
            return
        own = self._of_client.setdefault(client, {})
        own[task_id] = None
        self._made[task_id] = self._by_number[flight.number] = flight
        if len(own) > MAX_TASKS:
            oldest = next(iter(own))
            del own[oldest], self._by_number[self._made.pop(oldest).number]

    def find_owner(self, task_id: object) -> Client | None:
        """Return whose a task is, None if nobody knows."""
        flight = self._made.get(task_id) if type(task_id) is str else None
        return None if flight is None else flight.client

    def find_progress(self, number: object) -> Flight | None:
        """Return the flight that made a task, by its number: "The `progressToken` … remains valid throughout the task"."""
        return self._by_number.get(number) if type(number) is int else None

    def request(self, client: Client, request: Request) -> None:
        """Pass a request about a task on, if it is one of the client's."""
        task_id = request.params.get("taskId")
        if request.method == "tasks/list":
            refused: MethodNotFound | InvalidParams = MethodNotFound(
                "tasks/list: the server is shared by several clients, and would list the tasks of all"
            )
        elif self.find_owner(task_id) is not client:
            refused = InvalidParams(f"Failed to retrieve task: Task not found: {encode(task_id).decode()[:100]}")
        else:
            self._flights.take_off(client, request)
            return
        self._outbox.to_client(client, error_response(refused, request.id))

    def leave(self, client: Client) -> None:
        """Cancel the tasks of a client, which nobody can ask for any more."""
        for task_id in self._of_client.pop(client, {}):
            del self._by_number[self._made.pop(task_id).number]
            self._cancel(task_id)

    def _cancel(self, task_id: str) -> None:
        # One that has ended already can't be cancelled, and the server says so; nobody minds.
        self._flights.ask("tasks/cancel", encode({"taskId": task_id}))


def is_related(message: Message) -> tuple[bool, Any]:
    """Whether a message says that it is about a task, and about which."""
    meta = None if isinstance(message, Response) else message.params.get("_meta")
    if type(meta) is not dict or _RELATED not in meta:
        return False, None
    related = meta[_RELATED]
    return True, related.get("taskId") if type(related) is dict else None
