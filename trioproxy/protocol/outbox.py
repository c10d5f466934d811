"""What a translator has to say, gathered until its step ends, and the requests that it makes on its own account.

Its own requests have ids of their own, `trioproxy:1` and so on, which no client uses.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, TypeAlias

from .messages import RequestId, Response
from .translation import Related, Step

Reader: TypeAlias = Callable[[Response], None]

_OWN_ID: Final = "trioproxy:{}"


class Outbox:
    """The messages of one step, in the order in which they go to each side."""

    def __init__(self) -> None:
        self._to_client: list[bytes | Related] = []
        self._to_server: list[bytes] = []
        self._readers: dict[RequestId, Reader] = {}
        self._asked = 0

    def to_client(self, message: bytes | Related) -> None:
        """Say this to the client."""
        self._to_client.append(message)

    def to_server(self, line: bytes) -> None:
        """Say this to the server."""
        self._to_server.append(line)

    def ask_server(self, method: str, params: bytes, reader: Reader | None = None) -> None:
        """Make a request of our own; `reader` gets the response, whatever it is."""
        self._asked += 1
        request_id = _OWN_ID.format(self._asked)
        if reader is not None:
            self._readers[request_id] = reader
        # Every one that we make has params.
        self._to_server.append(
            b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}' % (encode(request_id), encode(method), params)
        )

    def take_answer(self, response: Response) -> bool:
        """Hand a response to whoever waits for it; return whether somebody did."""
        reader = None if response.id is None else self._readers.pop(response.id, None)
        if reader is None:
            return False
        reader(response)
        return True

    def empty(self) -> Step:
        """Return what has been gathered, and start anew."""
        step = Step(tuple(self._to_client), tuple(self._to_server))
        self._to_client.clear()
        self._to_server.clear()
        return step


def encode(value: object) -> bytes:
    """Return `value` as JSON, as short as it gets."""
    return json.dumps(value, separators=(",", ":")).encode()
