"""What a shared server asks, and who is asked (2025-11-25, Sampling, Elicitation, Roots).

Nothing in a question says whose request it is about.  While the requests of exactly one client are running, it is about one
of them; a question that belongs to a task says so itself (Tasks §Associating Task-Related Messages).  Any other is refused,
rather than shown to the wrong person.  So is one that its client has not declared it can be asked; the server does not know
that, since it was told of everything that any client may declare.

The answer counts if it comes from whoever was asked.
"""

from __future__ import annotations

from typing import Any, Final

from ..envelope import missing_capabilities
from ..errors import ChildError, MethodNotFound, error_response
from ..messages import Notification, ProgressToken, Request, RequestId, Response
from ..outbox import encode
from .clients import Client, Outbox

MAX_OPEN: Final = 1000
"""Questions that one server may wait for answers to."""
MAX_COMPLETIONS: Final = 1000
"""Elicitations whose end a server may still announce; of more, the oldest are forgotten."""


class Questions:
    """The server's questions that are not answered yet."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._asked: dict[RequestId, tuple[Client, ProgressToken | None]] = {}
        self._completions: dict[str, Client] = {}

    def ask(self, request: Request, candidates: list[Client]) -> bool:
        """Pass a question on to the only candidate; refuse it if there is another, or none.  Return whether it was asked."""
        refusal = self._find_objection(request, candidates)
        if refusal is not None:
            self._outbox.to_server(error_response(MethodNotFound(f"{request.method}: {refusal}"), request.id))
            return False
        (client,) = candidates
        self._asked[request.id] = (client, request.progress_token)
        if request.params.get("mode") == "url":
            self.expect_completion(client, request.params.get("elicitationId"))
        self._outbox.to_client(client, request.raw)
        return True

    def _find_objection(self, request: Request, candidates: list[Client]) -> str | None:
        if not candidates:
            return "the server is shared, and nobody's request is running that this could be about"
        if len(candidates) > 1:
            return f"the server is shared, and this could be about a request of any of {len(candidates)} clients"
        (client,) = candidates
        if client.has_left:
            return "the client whose request this is about has left"
        if client.capabilities is None:
            return "the client whose request this is about has made no handshake, and can't be asked anything"
        missing = missing_capabilities({"": {"method": request.method, "params": request.params}}, client.capabilities)
        if missing:
            return f"the client whose request this is about has not declared {encode(missing).decode()}"
        if request.id in self._asked:
            return f"request id {encode(request.id).decode()} is that of a question that is not answered yet"
        if len(self._asked) >= MAX_OPEN:
            return f"{len(self._asked)} questions are not answered yet, the limit"
        return None

    def answer(self, client: Client, response: Response) -> bool:
        """Take a client's answer; return whether it is one to a question that this client was asked."""
        if response.id is None or self._asked.get(response.id, (None, None))[0] is not client:
            return False
        del self._asked[response.id]
        self._outbox.to_server(response.raw)
        return True

    def report(self, client: Client, progress: Notification) -> bool:
        """Take the progress that a client makes with a question; return whether it was asked one of that token."""
        token = progress.progress_token
        is_its_own = token is not None and any(asked == (client, token) for asked in self._asked.values())
        if is_its_own:
            self._outbox.to_server(progress.raw)
        return is_its_own

    def withdraw(self, cancelled: Notification) -> bool:
        """Take back a question that the server does not wait for any more; return whether there was one."""
        request_id = cancelled.cancelled_id
        if request_id is None or (asked := self._asked.pop(request_id, None)) is None:
            return False
        self._outbox.to_client(asked[0], cancelled.raw)
        return True

    def expect_completion(self, client: Client, elicitation_id: object) -> None:
        """Note who is to hear that an elicitation out of band has been completed (Elicitation §URL Mode)."""
        if type(elicitation_id) is str:
            self._completions[elicitation_id] = client
            if len(self._completions) > MAX_COMPLETIONS:
                del self._completions[next(iter(self._completions))]

    def expect_completions(self, client: Client, error: dict[str, Any]) -> None:
        """The same for the elicitations that an error demands (Elicitation §URL Elicitation Required Error)."""
        data = error.get("data")
        elicitations = data.get("elicitations") if type(data) is dict else None
        for elicitation in elicitations if type(elicitations) is list else []:
            if type(elicitation) is dict:
                self.expect_completion(client, elicitation.get("elicitationId"))

    def complete(self, notification: Notification) -> bool:
        """Pass on that an elicitation has been completed; return whether anybody was to hear of it."""
        elicitation_id = notification.params.get("elicitationId")
        client = self._completions.pop(elicitation_id, None) if type(elicitation_id) is str else None
        if client is None:
            return False
        self._outbox.to_client(client, notification.raw)
        return True

    def leave(self, client: Client) -> None:
        """Answer what a client has not answered."""
        error = ChildError("the client that was asked has left")
        for request_id in [request_id for request_id, asked in self._asked.items() if asked[0] is client]:
            del self._asked[request_id]
            self._outbox.to_server(error_response(error, request_id))
        self._completions = {key: asked for key, asked in self._completions.items() if asked is not client}
