"""What a merged server has to say, and to whom, gathered until its step ends; and the requests that it makes of its own.

As `outbox`, for several servers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from ..errors import TrioproxyError, error_response
from ..messages import RequestId, Response
from ..outbox import encode
from ..translation import Related

Reader: TypeAlias = Callable[[Response | None], None]
"""Gets the answer; None where the server has ended without one."""

_OWN_ID: Final = "trioproxy:merge-{}"


class MergedStep(NamedTuple):
    """What follows from one message, or from the time that has passed.

    Attributes:
      to_servers: each with the name of the server that it goes to.
      notes: what whoever runs this ought to know, in words.
    """

    to_client: tuple[bytes | Related, ...] = ()
    to_servers: tuple[tuple[str, bytes], ...] = ()
    notes: tuple[str, ...] = ()


class Switchboard:
    """The messages of one step, in their order.

    Attributes:
      now: when the step takes place.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._to_client: list[bytes | Related] = []
        self._to_servers: list[tuple[str, bytes]] = []
        self._notes: list[str] = []
        self._readers: dict[tuple[str, RequestId], Reader] = {}
        self._asked = 0

    def to_client(self, message: bytes | Related) -> None:
        """Say this to the client."""
        self._to_client.append(message)

    def to_server(self, server: str, line: bytes) -> None:
        """Say this to one of the servers."""
        self._to_servers.append((server, line))

    def note(self, text: str) -> None:
        """Have this logged."""
        self._notes.append(text)

    def answer(self, request_id: RequestId, result: bytes) -> None:
        """Answer a request of the client."""
        self.to_client(b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (encode(request_id), result))

    def refuse(self, request_id: RequestId, error: TrioproxyError) -> None:
        """Answer a request of the client with an error."""
        self.to_client(error_response(error, request_id))

    def ask(self, server: str, method: str, params: bytes, reader: Reader) -> None:
        """Make a request of our own; `reader` is called once."""
        self._asked += 1
        request_id = _OWN_ID.format(self._asked)
        self._readers[server, request_id] = reader
        line = b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}' % (encode(request_id), encode(method), params)
        self.to_server(server, line)

    def take_answer(self, server: str, response: Response) -> bool:
        """Hand a response to whoever waits for it; return whether somebody did."""
        reader = None if response.id is None else self._readers.pop((server, response.id), None)
        if reader is None:
            return False
        reader(response)
        return True

    def hang_up(self, server: str) -> None:
        """Tell all who wait for a server that it has ended."""
        waiting = [key for key in self._readers if key[0] == server]
        for reader in [self._readers.pop(key) for key in waiting]:
            reader(None)

    def empty(self) -> MergedStep:
        """Return what has been gathered, and start anew."""
        step = MergedStep(tuple(self._to_client), tuple(self._to_servers), tuple(self._notes))
        self._to_client.clear()
        self._to_servers.clear()
        self._notes.clear()
        return step
