"""The handshake repeated, so that a new server takes the place of one that has died.

What is said, `protocol.revival` knows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import trio

from .protocol.errors import ChildError, CommandFailed, InvalidRequest, ParseError, RequestTimedOut
from .protocol.messages import RequestId, Response, recognise
from .protocol.revival import Memory, changes
from .transport import Transport


class News(NamedTuple):
    """What a new server brings.

    Attributes:
      lines: for the client: what the server has said meanwhile, and what may have changed.
      unanswered: ids of requests that we have made in the client's name, whose answers are still to come.
    """

    lines: list[bytes]
    unanswered: list[RequestId]


async def introduce(transport: Transport, memory: Memory, time_limit: float | None) -> News:
    """Tell a new server what the one before it was told.

    Args:
      time_limit: seconds for the answer to `initialize`; None for no limit.

    Raises:
      CommandFailed: the server refuses the handshake.
      RequestTimedOut: it does not answer in time.
      ChildError: it ends.
    """
    assert memory.initialize is not None
    transport.send_nowait(memory.initialize.raw)
    said: list[bytes] = []
    answer: Response | None = None
    with trio.move_on_after(math.inf if time_limit is None else time_limit):
        while answer is None:
            for line in await transport.receive():
                if not isinstance(line, bytes):
                    continue
                if answer is None and (answer := _answer_to(memory.initialize.id, line)) is not None:
                    continue
                said.append(line)
    if answer is None:
        raise RequestTimedOut(f"the new server did not answer initialize within {time_limit:g} s")
    if answer.is_error:
        raise CommandFailed("the new server refused the handshake")
    unanswered: list[RequestId] = []
    for request_id, line in memory.rest():
        transport.send_nowait(line)
        if request_id is not None:
            unanswered.append(request_id)
    try:
        return News([*said, *changes(answer)], unanswered)
    except ParseError as error:
        raise ChildError(f"the new server's answer to initialize is {error}") from None


def _answer_to(request_id: RequestId, line: bytes) -> Response | None:
    try:
        message = recognise(line)
    except (ParseError, InvalidRequest):
        return None
    return message if type(message) is Response and message.id == request_id else None
