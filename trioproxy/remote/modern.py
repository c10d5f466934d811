"""Streamable HTTP of 2026-07-28, the client's half: every request stands for itself (Transports §Streamable HTTP).

A request is a POST whose headers repeat what it is; its response is a stream of its own, and closing that cancels the
request.  Nothing can be resumed: what breaks before its answer has failed, and only its client knows whether to ask again.

Not here: subscriptions, which last longer than connections do (`subscriptions`); how a tool's arguments get into headers
(`known_tools`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ..http_client import HttpClientError
from ..protocol.envelope import METHOD_HEADER, NAME_HEADER, NAMED_BY, VERSION_HEADER
from ..protocol.errors import HEADER_MISMATCH, ChildError
from ..protocol.header_values import encode_header_value
from ..protocol.lines import OversizedLine
from ..protocol.messages import Message, Notification, Request, Response, parse_error
from ..protocol.meta_keys import PROTOCOL_VERSION
from .calls import Call, Calls
from .endpoint import Endpoint
from .inbox import Inbox
from .known_tools import LIST, KnownTools
from .reading import Reader, recognised
from .refusals import Refusal, read_refusal
from .settings import RemoteConfig
from .streamable_http import POST_HEADERS, RESTART_TIME, SAFE_METHODS
from .subscriptions import Subscriptions

logger = logging.getLogger("trioproxy.remote")

_TOOLS_CHANGED: Final = "notifications/tools/list_changed"


class ModernHttp:
    """A remote of 2026-07-28; it keeps nothing between requests, and so do we, but for what its tools are like.

    Args:
      on_proven: called when the remote has answered a request of that era.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        calls: Calls,
        inbox: Inbox,
        config: RemoteConfig,
        on_proven: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._calls = calls
        self._config = config
        self._on_proven = on_proven
        self._tools = KnownTools(self._ask_plainly)
        self._subscriptions = Subscriptions(
            endpoint, self._take, inbox, config, on_proven=on_proven, on_gap=self._tools.forget
        )

    async def ask(self, call: Call) -> Refusal | None:
        """Make a request, and return once it has its answer, or with what HTTP had in its place.

        Raises:
          ChildError: there will be no answer.
          HttpClientError: it could not be sent, or what came was no HTTP.
        """
        if call.is_listen:
            return await self._subscriptions.keep(call, request_headers(call.request))
        if call.request.method != "tools/call":
            return await self._post(call, [])
        headers = await self._tools.headers(call.request)
        refusal, mismatch = await self._try_call(call, headers)
        if mismatch is None:
            return refusal
        # "the client SHOULD call tools/list to check for changes to the tool's inputSchema, then retry the original request
        # with the appropriate headers" (§Client Behavior).
        self._tools.forget()
        others = await self._tools.headers(call.request)
        if others != headers:
            return await self._post(call, others)
        if refusal is None:
            await self._calls.conclude(call, mismatch)
        return refusal

    async def _try_call(self, call: Call, headers: list[tuple[bytes, bytes]]) -> tuple[Refusal | None, Response | None]:
        """Make a call whose headers may be wrong; return the answer that says so, which nobody else has heard yet."""
        mismatch: Response | None = None

        def withhold(answer: Response) -> bool:
            nonlocal mismatch
            if answer.is_error and parse_error(answer).get("code") == HEADER_MISMATCH:
                mismatch = answer
            return mismatch is not None

        refusal = await self._post(call, headers, withhold)
        if refusal is not None and refusal.code == HEADER_MISMATCH:
            mismatch = refusal.error
        return refusal, mismatch

    async def _ask_plainly(self, call: Call) -> None:
        try:
            await self._post(call, [])
        except (HttpClientError, ChildError) as error:
            logger.info("%s: %s", call.request.method, error)

    async def _post(
        self, call: Call, more_headers: list[tuple[bytes, bytes]], withhold: Callable[[Response], bool] | None = None
    ) -> Refusal | None:
        """Make a request; an answer that `withhold` returns true for is not concluded with."""
        request = call.request
        has_ended = False

        async def hear(raw: bytes | OversizedLine) -> bool:
            nonlocal has_ended
            message = recognised(raw)
            if isinstance(message, Response) and message.id in (None, request.id):
                if withhold is not None and withhold(message):
                    has_ended = True
                    return True
                if request.method == LIST and not call.is_own and not message.is_error:
                    message = self._tools.learn(message)
            await self._take(message, raw, call)
            return call.is_done.is_set()

        is_patient = request.method == "server/discover"
        trouble = "the response ended"
        async with self._endpoint.open(
            "POST",
            [*POST_HEADERS, *request_headers(request), *more_headers],
            request.raw,
            is_safe=request.method in SAFE_METHODS,
            patience=call.time_limit if is_patient else RESTART_TIME,
            call=call,
        ) as response:
            if not 200 <= response.status < 300:
                refusal = await read_refusal(response, self._endpoint.shown)
                if refusal.is_of_modern_server:
                    self._on_proven()
                return refusal
            self._on_proven()
            call.has_departed.set()
            try:
                await Reader(self._config.max_message_size).read(response, hear)
            except HttpClientError as error:
                trouble = str(error)
        if not (has_ended or call.is_done.is_set()):
            raise ChildError(f"{self._endpoint.shown}: no answer to {request.method}: {trouble}")
        if call.is_done.is_set():
            await call.wait_answered()
        return None

    async def _take(self, message: Message | None, raw: bytes | OversizedLine, call: Call) -> None:
        if message is None:
            await self._calls.hear(raw, call)
            return
        if type(message) is Notification and message.method == _TOOLS_CHANGED:
            self._tools.forget()
        await self._calls.take(message, call)


def request_headers(request: Request) -> list[tuple[bytes, bytes]]:
    """Return the headers that say what the body of a modern request says (§Request Metadata)."""
    headers = {VERSION_HEADER: request.params["_meta"][PROTOCOL_VERSION], METHOD_HEADER: request.method}
    if request.method in NAMED_BY:
        headers[NAME_HEADER] = request.params.get(NAMED_BY[request.method])
    encoded = []
    for name, value in headers.items():
        if isinstance(value, str):
            try:
                encoded.append((name.lower().encode(), encode_header_value(value).encode()))
            except UnicodeEncodeError:
                # No header can say it; the remote will say what it thinks of the body.
                continue
    return encoded
