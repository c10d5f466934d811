"""Which arguments of a tool have to be repeated in headers (2026-07-28, Transports §Custom Headers from Tool Parameters).

A tool's `inputSchema` can name arguments whose values a client mirrors into `Mcp-Param-…` headers, and "any server that
processes the message body MUST validate that encoded header values … match".  The server behind us sees no headers, so this
is ours to do, and for that we list its tools: once, and again when it says that they have changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import trio

from .call import Call
from .config import Config
from .multiplex import Multiplex
from .protocol.envelope import Envelope
from .protocol.errors import HeaderMismatch, InvalidRequest, ParseError
from .protocol.header_values import HeaderValues
from .protocol.messages import Notification, Request, Response, parse_line, parse_result
from .protocol.meta_keys import LOG_LEVEL
from .protocol.own_messages import LISTEN, modern_request
from .protocol.param_headers import InvalidAnnotation, ParamHeader, check_param_headers, find_param_headers

_MAX_PAGES: Final = 100
_FRESH_TIME: Final = 5.0
"""Seconds for which a list is taken to be right at least, if the server does not tell when it changes."""
_FRESH_LONGEST: Final = 86_400.0
"""And at most, whatever it says."""


class ToolHeaders:
    """The annotations of one server's tools, as one kind of client sees them."""

    def __init__(self, multiplex: Multiplex, config: Config) -> None:
        self._multiplex = multiplex
        self._config = config
        self._tools: dict[str, tuple[ParamHeader, ...]] = {}
        self._fresh_until = -math.inf
        self._expirations = 0
        self._watch: _Watch | None = None
        self._filling = trio.Lock()

    def has_none(self, request: Request) -> bool:
        """Whether it is known that no argument of this call has to be repeated, so that there is nothing to check."""
        name = request.params.get("name")
        known = self._tools.get(name) if isinstance(name, str) else None
        return known == () and trio.current_time() < self._fresh_until

    async def check(self, request: Request, envelope: Envelope, values: HeaderValues) -> None:
        """Check the headers of a `tools/call` against its arguments.

        Raises:
          HeaderMismatch: they differ.
        """
        name = request.params.get("name")
        if trio.current_time() >= self._fresh_until:
            await self._fill(request, envelope)
        arguments = request.params.get("arguments")
        headers = self._tools.get(name, ()) if isinstance(name, str) else ()
        if not headers:
            return
        if type(arguments) is not dict:
            arguments = {}
        try:
            check_param_headers(headers, arguments, values)
        except HeaderMismatch:
            # The client may know better than we do.
            before = headers
            self.expire()
            await self._fill(request, envelope)
            headers = self._tools.get(str(name), ())
            if headers == before:
                raise
            check_param_headers(headers, arguments, values)

    def expire(self) -> None:
        """The tools have changed."""
        self._fresh_until = -math.inf
        self._expirations += 1

    async def _fill(self, request: Request, envelope: Envelope) -> None:
        async with self._filling:
            if trio.current_time() < self._fresh_until:
                return
            meta = {name: value for name, value in request.params["_meta"].items() if name != "progressToken"}
            meta.pop(LOG_LEVEL, None)
            if self._watch is None or self._watch.is_at_end:
                # Before the list: what changes meanwhile must not go unnoticed.
                self._watch = _Watch(self, meta, self._config)
                self._multiplex.attach(self._watch)
            expirations = self._expirations
            listed = await self._list(meta, envelope._replace(log_level=None))
            now = trio.current_time()
            if listed is None:
                # What was right before may still be; that a list was not to be had must not hold for long.
                self._fresh_until = now + _FRESH_TIME
                return
            self._tools, ttl = listed
            if self._expirations != expirations:
                # They have changed since.
                return
            is_told = self._watch.is_honoured
            self._fresh_until = math.inf if is_told else now + min(max(ttl, _FRESH_TIME), _FRESH_LONGEST)

    async def _list(
        self, meta: Mapping[str, Any], envelope: Envelope
    ) -> tuple[dict[str, tuple[ParamHeader, ...]], float] | None:
        """Return the tools, and for how long they are good; None if the server does not say."""
        tools: dict[str, tuple[ParamHeader, ...]] = {}
        ttl = 0.0
        params: dict[str, object] = {}
        for _ in range(_MAX_PAGES):
            page = await self._ask(modern_request("tools/list", params, meta), envelope)
            if page is None:
                return None
            listed = page.get("tools")
            for tool in listed if isinstance(listed, list) else ():
                if isinstance(tool, dict) and isinstance(tool.get("name"), str):
                    tools[tool["name"]] = _annotated(tool.get("inputSchema"))
            milliseconds = page.get("ttlMs")
            ttl = min(milliseconds, _FRESH_LONGEST * 1000) / 1000 if isinstance(milliseconds, int) else 0.0
            if not isinstance(page.get("nextCursor"), str):
                break
            params = {"cursor": page["nextCursor"]}
        return tools, ttl

    async def _ask(self, raw: bytes, envelope: Envelope) -> dict[str, Any] | None:
        """Return the result of a request of our own; None if there is none."""
        request = parse_line(raw)
        assert type(request) is Request
        with Call(request, envelope, self._config) as call:
            self._multiplex.attach(call)
            _, messages = await call.read()
        try:
            answer = parse_line(messages[-1])
        except (ParseError, InvalidRequest):
            return None
        result = parse_result(answer) if type(answer) is Response else None
        return result if isinstance(result, dict) else None


class _Watch(Call):
    """Our own subscription to the changes of the list, for as long as the server lives."""

    is_background = True

    def __init__(self, headers: ToolHeaders, meta: Mapping[str, Any], config: Config) -> None:
        request = parse_line(modern_request(LISTEN, {"notifications": {"toolsListChanged": True}}, meta))
        assert type(request) is Request
        super().__init__(request, Envelope("", None, {}, None), config)
        self.is_honoured = False
        self._headers = headers

    def deliver(self, message: bytes) -> None:
        """Take note of a change; nothing is kept."""
        if self.is_answered:
            # Nobody tells us any more, if anybody ever did.
            if self.is_honoured:
                self._headers.expire()
            self.is_honoured = False
            return
        notification = parse_line(message)
        assert type(notification) is Notification
        if notification.method == "notifications/subscriptions/acknowledged":
            honoured = notification.params.get("notifications")
            self.is_honoured = isinstance(honoured, dict) and honoured.get("toolsListChanged") is True
        elif notification.method == "notifications/tools/list_changed":
            self._headers.expire()


def _annotated(schema: object) -> tuple[ParamHeader, ...]:
    try:
        return find_param_headers(schema)
    except InvalidAnnotation:
        # Clients leave such a tool out; one that calls it all the same has no rule to follow.
        return ()
