"""Which arguments of which tool go into headers, as the remote's own lists have it (2026-07-28, Tools §x-mcp-header).

What a client lists is learnt from as it passes; for a call of a tool that nobody has listed we ask ourselves.  A list holds
until the remote says that its tools have changed, or that our headers are not what it expects.

A tool whose annotations are invalid is left out of what the client sees: "the client MUST exclude the invalid tool from the
result of tools/list … SHOULD log a warning" (Streamable HTTP §Schema Extension).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from ..protocol.errors import ParseError
from ..protocol.messages import Request, Response, parse_line, parse_result
from ..protocol.meta_keys import LOG_LEVEL
from ..protocol.own_messages import modern_request
from ..protocol.param_headers import (
    InvalidAnnotation,
    ParamHeader,
    find_param_headers,
    mirror_arguments,
)
from ..protocol.splice import REMOVE, splice
from .calls import Call

logger = logging.getLogger("trioproxy.remote")

LIST: Final = "tools/list"
_MAX_PAGES: Final = 100
_MAX_TOOLS: Final = 10_000
_LIST_TIME: Final = 30.0

Ask = Callable[[Call], Awaitable[object]]


class KnownTools:
    """The tools of one remote.

    Args:
      ask: makes a request of ours.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._tools: dict[str, tuple[ParamHeader, ...]] = {}
        self._listing = trio.Lock()

    async def headers(self, request: Request) -> list[tuple[bytes, bytes]]:
        """Return the headers in which a `tools/call` repeats its arguments."""
        name = request.params.get("name")
        if not isinstance(name, str):
            return []
        if name not in self._tools:
            async with self._listing:
                if name not in self._tools:
                    await self._list(request)
                    # Of one that is not in the list, nothing can be repeated, and nobody asks again.
                    self._remember(name, ())
        return mirror_arguments(self._tools[name], request.params.get("arguments"))

    def forget(self) -> None:
        """The tools have changed."""
        self._tools.clear()

    def learn(self, answer: Response) -> Response:
        """Return the answer to a `tools/list` without the tools whose annotations are invalid."""
        try:
            result = parse_result(answer)
        except ParseError:
            return answer
        tools = result.get("tools") if isinstance(result, dict) else None
        invalid = [index for index, tool in enumerate(tools if isinstance(tools, list) else ()) if not self._admit(tool)]
        if not invalid:
            return answer
        return answer._replace(raw=splice(answer.raw, {("result", "tools", index): REMOVE for index in invalid}))

    def _admit(self, tool: Any) -> bool:
        if not isinstance(tool, dict) or not isinstance(name := tool.get("name"), str):
            return True
        self._tools.pop(name, None)
        try:
            self._remember(name, find_param_headers(tool.get("inputSchema")))
        except InvalidAnnotation as error:
            logger.warning("the tool %r is left out: %s", name, error)
            return False
        return True

    def _remember(self, name: str, headers: tuple[ParamHeader, ...]) -> None:
        if len(self._tools) >= _MAX_TOOLS:
            del self._tools[next(iter(self._tools))]
        self._tools.setdefault(name, headers)

    async def _list(self, request: Request) -> None:
        """Ask for all pages, in the name of the client that makes `request`: it may see other tools than others do."""
        meta = {name: value for name, value in request.params["_meta"].items() if name not in ("progressToken", LOG_LEVEL)}
        params: dict[str, Any] = {}
        with trio.move_on_after(_LIST_TIME):
            for _ in range(_MAX_PAGES):
                listing = parse_line(modern_request(LIST, params, meta))
                assert isinstance(listing, Request)
                call = Call(listing, _LIST_TIME, is_own=True)
                await self._ask(call)
                if call.answer is None or call.answer.is_error:
                    return
                try:
                    result = parse_result(self.learn(call.answer))
                except ParseError:
                    return
                cursor = result.get("nextCursor") if isinstance(result, dict) else None
                if not isinstance(cursor, str):
                    return
                params = {"cursor": cursor}
