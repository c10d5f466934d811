"""The client's handshake repeated, so that it goes on with a remote that has forgotten it.

2025-11-25, Transports §Session Management, 4: "When a client receives HTTP 404 in response to a request containing an
MCP-Session-Id, it MUST start a new session by sending a new InitializeRequest without a session ID attached."  What else is
to be said then, `protocol.revival` knows.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from ..protocol.errors import ChildError, CommandFailed, InvalidRequest, ParseError, RequestTimedOut
from ..protocol.messages import Request, parse_line
from ..protocol.revival import Memory, changes
from .calls import Call
from .inbox import Inbox

logger = logging.getLogger("trioproxy.remote")


async def repeat_handshake(
    memory: Memory,
    time_limit: float | None,
    inbox: Inbox,
    *,
    ask: Callable[[Call], Awaitable[None]],
    tell: Callable[[bytes], Awaitable[None]],
) -> None:
    """Say what the client has said in its old session, and tell the client what may be another now.

    Args:
      time_limit: seconds for each answer.
      ask: returns once the call has its answer.
      tell: returns once the remote has a notification.

    Raises:
      ChildError: the remote does not take it.
    """
    assert memory.initialize is not None
    answer = (await _ask(memory.initialize, time_limit, ask)).answer
    if answer is None:
        raise RequestTimedOut(f"the remote did not answer initialize within {time_limit:g} s")
    if answer.is_error:
        raise CommandFailed(f"the remote refused the handshake: {answer.raw[:300].decode(errors='replace')}")
    if not memory.is_complete:
        return
    for _, line in memory.rest():
        message = parse_line(line)
        if isinstance(message, Request):
            await _ask(message, time_limit, ask)
        else:
            await tell(line)
    try:
        for line in changes(answer):
            inbox.put_nowait(line)
    except (ParseError, InvalidRequest) as error:
        raise ChildError(f"the answer to initialize is {error}") from None
    logger.info("the session was lost, and begun anew")


async def _ask(request: Request, time_limit: float | None, ask: Callable[[Call], Awaitable[None]]) -> Call:
    call = Call(request, time_limit, is_own=True)
    with call.scope:
        await ask(call)
    return call
