"""Where the browser comes back to after a sign-in: an HTTP server on this machine, waiting for one request (RFC 8252 §7.3).

    http://127.0.0.1:PORT/callback?code=…&state=…

Any page in any browser here can send requests to it.  So a response counts only if it has the `state` that we gave away:
"discard any results that do not include or have a mismatch with the original state" (2026-07-28, Security Considerations
§Open Redirection).  What is discarded does not end the wait, or any page could end it.

Not here: what the response means, and whether it is from whom we asked (`oauth_provider`).
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

import h11
import trio

_PATH: Final = "/callback"
_MAX_HEAD: Final = 16 * 1024
_TIME: Final = 10.0
"""Seconds for one request."""
_MAX_CONNECTIONS: Final = 16
_HEADERS: Final = [
    ("content-type", "text/html; charset=utf-8"),
    ("connection", "close"),
    # The address of the page has the code in it, which is nobody else's.
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("content-security-policy", "default-src 'none'"),
    ("x-content-type-options", "nosniff"),
]
_PAGES: Final = {
    200: "Done. You can close this window.",
    400: "This does not belong to a sign-in that was begun here.",
    404: "There is nothing here.",
    405: "There is nothing here but pages.",
}

AuthorizationResponse = dict[str, str]
"""The parameters with which the browser comes back (RFC 6749 §4.1.2)."""


class Loopback:
    """A server that waits for the browser; made by `open_loopback`.

    Attributes:
      redirect_uri: where the browser is to be sent.
    """

    def __init__(self, port: int) -> None:
        self.redirect_uri: Final = f"http://127.0.0.1:{port}{_PATH}"
        self._state: str | None = None
        self._response: AuthorizationResponse = {}
        self._has_response = trio.Event()
        self._places = trio.CapacityLimiter(_MAX_CONNECTIONS)

    async def wait_response(self, state: str) -> AuthorizationResponse:
        """Return the parameters of the first response with this `state`."""
        self._state = state
        await self._has_response.wait()
        return self._response

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one connection, whatever comes."""
        try:
            async with self._places:
                with trio.move_on_after(_TIME):
                    await self._answer(stream)
        except (trio.BrokenResourceError, h11.ProtocolError):
            # Who sends nonsense hears nothing.
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _answer(self, stream: trio.SocketStream) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(_MAX_HEAD)))
        if not isinstance(event, h11.Request):
            return
        status, response = self._judge(event.method, event.target.decode("latin-1"))
        body = f"<!doctype html><title>trioproxy</title><p>{_PAGES[status]}</p>\n".encode()
        headers = [*_HEADERS, ("content-length", str(len(body)))]
        data = http.send(h11.Response(status_code=status, headers=headers)) or b""
        data += http.send(h11.Data(data=b"" if event.method == b"HEAD" else body)) or b""
        await stream.send_all(data)
        if response is not None and not self._has_response.is_set():
            self._response = response
            self._has_response.set()

    def _judge(self, method: bytes, target: str) -> tuple[int, AuthorizationResponse | None]:
        """Return the status of a request, and the response if it is one that counts."""
        path, _, query = target.partition("?")
        if path != _PATH:
            return 404, None
        if method != b"GET":
            return 405, None
        try:
            parameters = parse_qsl(query, keep_blank_values=True, max_num_fields=50)
        except ValueError:
            return 400, None
        response = dict(parameters)
        # "Request and response parameters MUST NOT be included more than once" (RFC 6749 §3.1).
        is_ours = self._state is not None and hmac.compare_digest(response.get("state", "").encode(), self._state.encode())
        return (200, response) if is_ours and len(response) == len(parameters) else (400, None)


@asynccontextmanager
async def open_loopback(port: int = 0, *, is_fixed: bool = False) -> AsyncIterator[Loopback]:
    """Listen for the browser for as long as the block runs.

    Args:
      port: of 127.0.0.1; 0 for any that is free.
      is_fixed: no other will do.

    Raises:
      OSError: it is taken.
    """
    try:
        (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
    except OSError:
        if is_fixed:
            raise
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        loopback = Loopback(listener.socket.getsockname()[1])
        nursery.start_soon(partial(trio.serve_listeners, loopback.serve, [listener]))
        try:
            yield loopback
        finally:
            nursery.cancel_scope.cancel()
