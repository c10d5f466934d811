"""A server of the `mcp` SDK in our own process as a transport, without a child.

    async with open_in_process(server) as transport:      one run of the server, exactly as long as the block
        transport.send_nowait(message)
        lines = await transport.receive()

`server` is a low-level `Server`, an `MCPServer`, or a `FastMCP` of the `fastmcp` package.  Each block is a run of its own,
lifespan included, and is served by the loop that stands behind the SDK's stdio: the first request decides the era, and so
each revision is served as a process with this server would (Transports §stdio).  In one thing better: the SDK says which
request a question or a log message belongs to, and here nothing forgets it.

What the SDK does not do, this can't either.  It reads each message into models and writes it anew: the order of members and
the digits of numbers are its own.  A function that blocks without a thread of its own (`time.sleep` in an `async def`)
blocks all of us, and one that blocks in a thread holds up the end of the block, since nothing can cancel a thread.  What a
tool prints is printed on our stdout.
"""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, runtime_checkable

import anyio
import mcp_types as types
import trio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp import MCPError
from mcp.server.models import InitializationOptions
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from pydantic import ValidationError

from .config import MIB
from .protocol.errors import INTERNAL_ERROR, ChildError, ChildExited, InvalidRequest, ParseError, error_response
from .protocol.messages import Request, parse_line
from .protocol.meta_keys import SUBSCRIPTION_ID
from .protocol.translation import Related
from .transport import Received

logger = logging.getLogger("trioproxy.in_process")

MAX_QUEUED: Final = MIB
"""Bytes waiting for the server, or for us, beyond which whoever sends waits."""
STOP_TIME: Final = 2.0
"""Seconds for a server to act on the end of its input: to leave its lifespan, above all."""
_ERRORS_TOLD: Final = 10
_PROGRESS: Final = "notifications/progress"


@runtime_checkable
class _LowLevelServer(Protocol):
    """What `mcp.server.lowlevel.Server` can do, as far as it is needed here."""

    def create_initialization_options(self) -> InitializationOptions:
        """Return what it says of itself in a handshake."""

    async def run(self, read_stream: Any, write_stream: Any, initialization_options: InitializationOptions) -> None:
        """Enter its lifespan, and serve until there is nothing more to read."""


@asynccontextmanager
async def open_in_process(
    server: object,
    *,
    initialization_options: InitializationOptions | None = None,
    max_message_size: int | None = 64 * MIB,
    stop_time: float = STOP_TIME,
) -> AsyncIterator[InProcess]:
    """Run a server of the SDK, for as long as the block runs.

    At the end of the block, however it comes, the server's input ends, as a stdio server's would: calls that are running are
    cancelled, and the server leaves its lifespan, shielded from cancellation.  What is not done in `stop_time` is cancelled.

    An error that the server doesn't answer itself (one of its lifespan, say) ends the server, and comes out of `receive` as
    a `ChildError`; it never comes out of the block.

    Args:
      initialization_options: what the server says of itself in a handshake; by default what it says over stdio.
      max_message_size: the longest message accepted from the server, in bytes; the call that wants to send a longer one
        gets an error.

    Raises:
      TypeError: that is no server of the SDK.
    """
    transport = InProcess(_find_low_level(server), initialization_options, max_message_size)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport._run)
        try:
            yield transport
        finally:
            transport._end_input(stop_time)


def _find_low_level(server: Any) -> _LowLevelServer:
    """Return the low-level server in one of the kinds of servers that there are."""
    # `MCPServer` has it in the one attribute, `FastMCP` in the other; neither can be served over streams without it.
    candidates = (server, getattr(server, "_lowlevel_server", None), getattr(server, "_mcp_server", None))
    for candidate in candidates:
        if isinstance(candidate, _LowLevelServer) and not isinstance(candidate, type):
            return candidate
    raise TypeError(
        f"expected a Server or an MCPServer of the mcp SDK, or a FastMCP; this is of type {type(server).__name__}"
    )


class InProcess:
    """A running server of the SDK; a `Transport`."""

    def __init__(self, server: _LowLevelServer, options: InitializationOptions | None, max_message_size: int | None) -> None:
        self._server = server
        self._options = options
        self._scope = trio.CancelScope(shield=True)
        self._is_leaving = False
        self._failure: ChildError | None = None
        self._to_server = _Input(self._refuse)
        self._from_server = _Output(max_message_size)

    def send_nowait(self, message: bytes) -> None:
        """Queue one message for the server."""
        if self._failure is None:
            self._to_server.put(message)

    @property
    def is_congested(self) -> bool:
        """Whether more than MAX_QUEUED bytes wait for the server to take them."""
        return self._to_server.size > MAX_QUEUED

    async def wait_writable(self) -> None:
        """Return once the server has taken enough of what waits for it.

        Raises:
          ChildError: the server has ended.
        """
        while self._failure is None and self.is_congested:
            await self._to_server.taken.park()
        if self._failure is not None:
            raise self._failure

    async def receive(self) -> Sequence[Received]:
        """Return the next messages of the server, at least one.

        Raises:
          ChildError: the server has ended, and all that it sent has been returned.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._from_server.messages:
            if self._failure is not None:
                raise self._failure
            await self._from_server.filled.park()
        return self._from_server.take_all()

    @property
    def failure(self) -> ChildError | None:
        """How the server ended, once it has."""
        return self._failure

    def _refuse(self, line: bytes, why: str) -> None:
        """Answer a request that the SDK can't read: it would say nothing, and its client wait for the answer."""
        try:
            message = parse_line(line)
        except (ParseError, InvalidRequest):
            return
        if type(message) is Request:
            self._from_server.put(error_response(InvalidRequest(f"the server can't read the request: {why}"), message.id))

    async def _run(self) -> None:
        failure = ChildExited("the server has ended by itself")
        try:
            with self._scope:
                options = self._options or self._server.create_initialization_options()
                await self._server.run(self._to_server, self._from_server, options)
            if self._is_leaving:
                failure = ChildExited("the server was stopped")
            if self._scope.cancelled_caught:
                logger.warning("a server in our process was cancelled: it had not ended in time")
        except* (Exception, SystemExit) as group:
            # The boundary: a server may fail without those beside it, and whoever talks to it is told.
            logger.exception("a server in our process failed")
            words = list(_last_words(group))
            failure = ChildExited(f"the server failed: {words[0]}", data={"stderr": words[:_ERRORS_TOLD], "restarts": 0})
        finally:
            self._failure = failure
            self._to_server.close()
            self._from_server.close()

    def _end_input(self, stop_time: float) -> None:
        self._is_leaving = True
        self._scope.deadline = trio.current_time() + stop_time
        self._to_server.close()
        # Nobody receives any more: whoever waits to send shall not wait.
        self._from_server.close()


def _last_words(error: BaseException) -> Iterator[str]:
    """Yield what Python says of an error, or of each in a group: one line each, and no traceback."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _last_words(one)
    else:
        yield " ".join("".join(traceback.format_exception_only(error)).split())


class _Input(ObjectReceiveStream[SessionMessage | Exception]):
    """What the server reads: messages as the SDK has them, made of ours as they are taken."""

    def __init__(self, refuse: Callable[[bytes, str], None]) -> None:
        self.size = 0
        self.taken = trio.lowlevel.ParkingLot()
        self._refuse = refuse
        self._is_closed = False
        self._messages: deque[bytes] = deque()
        self._filled = trio.lowlevel.ParkingLot()

    def put(self, message: bytes) -> None:
        """Add a message."""
        self._messages.append(message)
        self.size += len(message)
        self._filled.unpark()

    def close(self) -> None:
        """Let the server find the end now, and nobody wait any more."""
        self._is_closed = True
        self._messages.clear()
        self.size = 0
        self._filled.unpark_all()
        self.taken.unpark_all()

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message, or the error that the SDK's stdio makes of what it can't read."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._messages:
            if self._is_closed:
                raise anyio.EndOfStream
            await self._filled.park()
        line = self._messages.popleft()
        self.size -= len(line)
        self.taken.unpark_all()
        try:
            return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
        except ValidationError as error:
            self._refuse(line, error.errors(include_url=False)[0]["msg"])
            return error

    async def aclose(self) -> None:
        """Take no more."""
        self.close()
        await trio.lowlevel.checkpoint()


class _Output(ObjectSendStream[SessionMessage]):
    """What the server writes: our messages, made of the SDK's as they are sent."""

    def __init__(self, max_message_size: int | None) -> None:
        self.messages: list[Received] = []
        self.filled = trio.lowlevel.ParkingLot()
        self._max_message_size = max_message_size
        self._size = 0
        self._is_closed = False
        self._taken = trio.lowlevel.ParkingLot()

    def put(self, message: bytes | Related) -> None:
        """Add a message."""
        self.messages.append(message)
        self._size += len(message.raw if isinstance(message, Related) else message)
        self.filled.unpark_all()

    def take_all(self) -> Sequence[Received]:
        """Return what is there, and make room."""
        messages, self.messages = self.messages, []
        self._size = 0
        self._taken.unpark_all()
        return messages

    def close(self) -> None:
        """Accept nothing more, and let nobody wait; what is there can still be taken."""
        self._is_closed = True
        self.filled.unpark_all()
        self._taken.unpark_all()

    async def send(self, item: SessionMessage) -> None:
        """Add a message of the server's, once there is room for it."""
        # A tool may do nothing else for ever, and is not told by the SDK that nothing can be sent any more: let others run.
        await trio.lowlevel.checkpoint()
        while self._size > MAX_QUEUED and not self._is_closed:
            await self._taken.park()
        if self._is_closed:
            raise anyio.ClosedResourceError
        line = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        if self._max_message_size is not None and len(line) > self._max_message_size:
            # To the call that wanted to send it; the SDK makes an error response of it.
            limit = f"{len(line)} bytes, and the limit is {self._max_message_size}"
            raise MCPError(INTERNAL_ERROR, f"the server wanted to send a message of {limit}")
        self.put(_relate(line, item))

    async def aclose(self) -> None:
        """Accept nothing more."""
        self.close()
        await trio.lowlevel.checkpoint()


def _relate(line: bytes, item: SessionMessage) -> bytes | Related:
    """Return the message with the request that it belongs to, where the SDK knows it and the message doesn't say it."""
    message, metadata = item.message, item.metadata
    if (
        isinstance(message, types.JSONRPCRequest | types.JSONRPCNotification)
        and isinstance(metadata, ServerMessageMetadata)
        and metadata.related_request_id is not None
        and message.method != _PROGRESS
        and not _names_subscription(message.params)
    ):
        return Related(line, metadata.related_request_id)
    return line


def _names_subscription(params: dict[str, Any] | None) -> bool:
    meta = (params or {}).get("_meta")
    return isinstance(meta, dict) and SUBSCRIPTION_ID in meta
