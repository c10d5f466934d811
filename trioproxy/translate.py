"""A transport of one era made from one of the other.

The translators of `protocol/` know what follows from which message; here that is sent where it belongs, when it is due.
There is no task: whoever receives from the transport also does the translator's waiting for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import trio

from .protocol.errors import ChildError, InvalidRequest, ParseError
from .protocol.lines import OversizedLine
from .protocol.messages import parse_line, recognise, slim
from .protocol.translation import Related, Step, Translator
from .transport import Received, Transport

T = TypeVar("T", bound=Translator)


class Translated(Generic[T]):
    """A server of one era behind a translator; a `Transport` of the other."""

    def __init__(self, server: Transport, translator: T) -> None:
        self.translator = translator
        self._server = server
        self._ready: list[Received] = []
        self._wait = trio.CancelScope()

    def send_nowait(self, message: bytes) -> None:
        """Translate one message of the client."""
        if self.translator.is_transparent:
            self._server.send_nowait(message)
            return
        deadline = self.translator.deadline
        parsed = parse_line(message)
        self._carry_out(self.translator.from_client(parsed, trio.current_time()))
        slim(parsed)
        if self._ready or self.translator.deadline < deadline:
            # Whoever waits for the server has something else to do now.
            self._wait.cancel()

    @property
    def is_congested(self) -> bool:
        """Whether the server has much to read as it is."""
        return self._server.is_congested

    async def wait_writable(self) -> None:
        """Return once the server has read enough.

        Raises:
          ChildError: it has ended.
        """
        await self._server.wait_writable()

    async def receive(self) -> Sequence[Received]:
        """Return the next messages for the client, at least one.

        Raises:
          ChildError: the server has ended, and every message of its was returned before.
        """
        while not self._ready:
            if self.translator.is_transparent:
                return await self._server.receive()
            # Cancelling `receive` loses nothing.
            with trio.CancelScope(deadline=self.translator.deadline) as self._wait:
                try:
                    for line in await self._server.receive():
                        self._translate(line)
                except ChildError:
                    # What the translator has said itself meanwhile comes first; the next call hears of the end.
                    if not self._ready:
                        raise
            now = trio.current_time()
            if self.translator.deadline <= now:
                self._carry_out(self.translator.wake(now))
        ready, self._ready = self._ready, []
        return ready

    @property
    def failure(self) -> ChildError | None:
        """How the server ended, once it has."""
        return self._server.failure

    def _translate(self, line: Received) -> None:
        if isinstance(line, OversizedLine) or self.translator.is_transparent:
            self._ready.append(line)
            return
        raw, request_id = line if isinstance(line, Related) else (line, None)
        try:
            step = self.translator.from_server(recognise(raw), trio.current_time(), request_id)
        except (ParseError, InvalidRequest):
            # Whoever receives it will know what to do with garbage, and with what is nested too deeply to be changed.
            self._ready.append(line)
        else:
            self._carry_out(step)

    def _carry_out(self, step: Step) -> None:
        self._ready += step.to_client
        for message in step.to_server:
            self._server.send_nowait(message)
