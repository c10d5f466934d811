"""Headers that repeat a tool's arguments: when the list of tools is asked for, and what a call has to say.

2026-07-28, Streamable HTTP §Custom Headers from Tool Parameters.  The server is a memory transport, and the clock jumps.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioproxy.config import ChildConfig, Config, TimeConfig
from trioproxy.multiplex import Multiplex
from trioproxy.protocol.errors import ChildExited, HeaderMismatch
from trioproxy.tool_headers import ToolHeaders

from .memory_transport import MemoryTransport
from .modern import SUBSCRIPTION_ID, parse, request
from .puppet import notification

EXECUTE_SQL = {
    "name": "execute_sql",
    "description": "Execute SQL on Google Cloud Spanner",
    "inputSchema": {
        "type": "object",
        "properties": {
            "region": {"type": "string", "description": "The region to execute the query in", "x-mcp-header": "Region"},
            "query": {"type": "string", "description": "The SQL query to execute"},
        },
        "required": ["region", "query"],
    },
}
"""The specification's own example (§Schema Extension)."""
ARGUMENTS = {"region": "us-west1", "query": "SELECT * FROM users"}


def annotated(header: str) -> dict[str, Any]:
    """Return the example with another name of the header."""
    region = {"type": "string", "x-mcp-header": header}
    return {**EXECUTE_SQL, "inputSchema": {"type": "object", "properties": {"region": region}}}


class ToolServer:
    """A server that lists tools, and tells of changes.

    Attributes:
      pages: what it lists.
      lists: how often a list was begun.
      listens: the ids of open subscriptions; None if it knows no such method.
      silent: it answers nothing any more.
      may_answer: until it is set, nothing is heard.
    """

    def __init__(self, transport: MemoryTransport) -> None:
        self.pages: list[Any] = [[EXECUTE_SQL]]
        self.ttl_ms: Any = 0
        self.lists = 0
        self.listens: list[int] | None = []
        self.silent = False
        self.may_answer = trio.Event()
        self.may_answer.set()
        self.metas: list[Any] = []
        self._transport = transport

    async def run(self) -> None:
        """Answer."""
        while True:
            message = await self._transport.hear()
            await self.may_answer.wait()
            if message["method"] != "notifications/cancelled" and not self.silent:
                self._answer(message)

    def _answer(self, message: Any) -> None:
        self.metas.append(message["params"]["_meta"])
        if message["method"] == "tools/list":
            self._list(message)
        elif self.listens is None:
            error = {"code": -32601, "message": "Method not found"}
            self._transport.say({"jsonrpc": "2.0", "id": message["id"], "error": error})
        else:
            assert message["params"]["notifications"] == {"toolsListChanged": True}
            self.listens.append(message["id"])
            self._tell("notifications/subscriptions/acknowledged", notifications={"toolsListChanged": True})

    def _list(self, message: Any) -> None:
        page = int(message["params"].get("cursor", 0))
        self.lists += page == 0
        more = {"nextCursor": str(page + 1)} if page + 1 < len(self.pages) else {}
        result = {"resultType": "complete", "tools": self.pages[page], "ttlMs": self.ttl_ms, "cacheScope": "public", **more}
        self._transport.say({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _tell(self, method: str, **params: Any) -> None:
        assert self.listens
        self._transport.say(notification(method, _meta={SUBSCRIPTION_ID: self.listens[-1]}, **params))

    def change(self, *pages: Any) -> None:
        """List other tools from now on, and tell so."""
        self.pages = list(pages)
        self._tell("notifications/tools/list_changed")


class Talk:
    """The server, and calls to its tools."""

    def __init__(self, server: ToolServer, transport: MemoryTransport, headers: ToolHeaders) -> None:
        self.server = server
        self.transport = transport
        self._headers = headers

    async def check(self, arguments: Any = ARGUMENTS, tool: Any = "execute_sql", **said: str) -> None:
        """Check a call that came with these headers of `Mcp-Param-`."""
        message = request("tools/call", token="mine", log_level="debug", name=tool, arguments=arguments)
        call, envelope = parse(message)
        values = {f"mcp-param-{name.replace('_', '-')}".encode(): [value.encode()] for name, value in said.items()}
        await self._headers.check(call, envelope, lambda name: values.get(name, []))

    async def change(self, *pages: Any) -> None:
        """Let the tools change, and the change be heard of."""
        self.server.change(*pages)
        await wait_all_tasks_blocked()


@asynccontextmanager
async def open_server(**times: Any) -> AsyncIterator[Talk]:
    config = Config(ChildConfig(("server",)), times=TimeConfig(**times))
    transport = MemoryTransport()
    multiplex = Multiplex(transport)
    server = ToolServer(transport)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(multiplex.run)
        nursery.start_soon(server.run)
        yield Talk(server, transport, ToolHeaders(multiplex, config))
        nursery.cancel_scope.cancel()


# What a call has to say


async def test_a_call_whose_header_says_what_its_argument_says_is_right(autojump_clock: MockClock) -> None:
    async with open_server() as talk:
        await talk.check(region="us-west1")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"region": "eu-north1"}, "Mcp-Param-Region header value 'eu-north1' does not match argument region, 'us-west1'"),
        ({"region": "US-WEST1"}, "does not match"),
        ({}, "Mcp-Param-Region header is missing"),
    ],
)
async def test_a_call_whose_header_says_something_else_is_refused(
    said: dict[str, str], message: str, autojump_clock: MockClock
) -> None:
    """§Server Behavior: "Servers MUST reject requests … if any validation fails"."""
    async with open_server() as talk:
        with pytest.raises(HeaderMismatch, match=message):
            await talk.check(**said)


async def test_a_header_without_its_argument_is_refused(autojump_clock: MockClock) -> None:
    without: list[Any] = [{"query": "x"}, None, [], "us-west1"]
    async with open_server() as talk:
        for arguments in without:
            await talk.check(arguments)
            with pytest.raises(HeaderMismatch, match="no argument region"):
                await talk.check(arguments, region="us-west1")


async def test_what_no_tool_asks_for_is_ignored(autojump_clock: MockClock) -> None:
    async with open_server() as talk:
        await talk.check(region="us-west1", query="DROP TABLE users", other="x")
        await talk.check({"region": 1}, tool="no_such_tool")
        await talk.check({"region": 1}, tool=["execute_sql"])


async def test_a_tool_whose_annotation_is_invalid_asks_for_nothing(autojump_clock: MockClock) -> None:
    """Its clients "MUST exclude the invalid tool"; one that calls it all the same has no rule to follow."""
    async with open_server() as talk:
        talk.server.pages = [[annotated("not a token"), {**EXECUTE_SQL, "name": "sound"}]]
        await talk.check()
        with pytest.raises(HeaderMismatch):
            await talk.check(tool="sound")


async def test_every_page_of_the_list_counts(autojump_clock: MockClock) -> None:
    async with open_server() as talk:
        talk.server.pages = [[{"name": "other"}], [EXECUTE_SQL], []]
        with pytest.raises(HeaderMismatch):
            await talk.check(region="elsewhere")


# When the list is asked for


async def test_the_list_is_asked_for_once(autojump_clock: MockClock) -> None:
    async with open_server() as talk:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(lambda: talk.check(region="us-west1"))
        await trio.sleep(10_000)
        await talk.check(region="us-west1")
        assert talk.server.lists == 1
        assert talk.server.listens is not None
        assert len(talk.server.listens) == 1


async def test_a_call_that_comes_while_the_list_is_fetched_waits_for_it(autojump_clock: MockClock) -> None:
    async with open_server() as talk:
        talk.server.may_answer = trio.Event()
        refused = []

        async def call(region: str) -> None:
            try:
                await talk.check(region=region)
            except HeaderMismatch:
                refused.append(region)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, "us-west1")
            await wait_all_tasks_blocked()
            nursery.start_soon(call, "elsewhere")
            await wait_all_tasks_blocked()
            talk.server.may_answer.set()
        assert refused == ["elsewhere"]


async def test_a_caller_that_leaves_meanwhile_leaves_the_list_to_the_next(autojump_clock: MockClock) -> None:
    async with open_server() as talk:
        talk.server.silent = True
        with trio.move_on_after(1):
            await talk.check(region="us-west1")
        talk.server.silent = False
        with pytest.raises(HeaderMismatch):
            await talk.check(region="elsewhere")


async def test_it_is_asked_for_as_the_caller_but_without_its_token_and_log_level(autojump_clock: MockClock) -> None:
    """What a server offers may depend on the client; progress and logs are the call's."""
    async with open_server() as talk:
        await talk.check(region="us-west1")
        for meta in talk.server.metas:
            assert meta["io.modelcontextprotocol/clientInfo"]["name"] == "ExampleClient"
            assert not {"progressToken", "io.modelcontextprotocol/logLevel"} & meta.keys()


async def test_it_is_asked_for_again_once_the_server_says_that_it_has_changed(autojump_clock: MockClock) -> None:
    async with open_server() as talk:
        await talk.check(region="us-west1")
        await talk.change([annotated("Zone")])
        with pytest.raises(HeaderMismatch, match="Mcp-Param-Zone header is missing"):
            await talk.check(region="us-west1")
        await talk.check(zone="us-west1")
        await talk.change([])
        await talk.check()
        assert talk.server.listens is not None
        assert len(talk.server.listens) == 1


async def test_a_list_that_is_out_of_date_does_not_refuse_a_right_call(autojump_clock: MockClock) -> None:
    """The client may know of a change before we do; a wrong call stays wrong."""
    async with open_server() as talk:
        await talk.check(region="us-west1")
        talk.server.pages = [[annotated("Zone")]]
        await talk.check(zone="us-west1")
        assert talk.server.lists == 2
        with pytest.raises(HeaderMismatch, match="Zone"):
            await talk.check(region="us-west1")


@pytest.mark.parametrize(("ttl_ms", "seconds"), [(0, 5), (60_000, 60), (None, 5), (-1, 5)])
async def test_a_server_that_does_not_tell_of_changes_is_asked_again_after_a_while(
    ttl_ms: Any, seconds: float, autojump_clock: MockClock
) -> None:
    """Caching §ttlMs: "the client MAY consider the result fresh" for so long."""
    async with open_server() as talk:
        talk.server.listens = None
        talk.server.ttl_ms = ttl_ms
        await talk.check(region="us-west1")
        talk.server.pages = [[]]
        await trio.sleep(seconds - 1)
        await talk.check(region="us-west1")
        assert talk.server.lists == 1
        await trio.sleep(1)
        await talk.check()
        assert talk.server.lists == 2


async def test_a_change_while_the_list_is_fetched_is_not_missed(autojump_clock: MockClock) -> None:
    async with open_server() as talk:
        await talk.check(region="us-west1")
        await talk.change([annotated("Old")])
        talk.server.silent = True

        async def look() -> None:
            await talk.check(old="us-west1")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await wait_all_tasks_blocked()
            talk.server.change([annotated("New")])
            await wait_all_tasks_blocked()
            talk.server.silent = False
            # The answer that was under way still has the old list.
            message = {"resultType": "complete", "tools": [annotated("Old")], "ttlMs": 0, "cacheScope": "public"}
            talk.transport.say({"jsonrpc": "2.0", "id": 3, "result": message})
        with pytest.raises(HeaderMismatch, match="New"):
            await talk.check(old="us-west1")


# Servers that can't be asked


async def test_a_server_that_ends_its_subscription_is_asked_again(autojump_clock: MockClock) -> None:
    async with open_server() as talk:
        await talk.check(region="us-west1")
        assert talk.server.listens is not None
        talk.transport.say({"jsonrpc": "2.0", "id": talk.server.listens[0], "result": {"resultType": "complete"}})
        await wait_all_tasks_blocked()
        talk.server.pages = [[annotated("Zone")]]
        await talk.check(zone="us-west1")
        assert len(talk.server.listens) == 2


@pytest.mark.parametrize(
    "page", [None, 5, {"execute_sql": EXECUTE_SQL}, [None, 5, {"name": 5}, {"name": "x", "inputSchema": []}]]
)
async def test_a_list_that_is_none_asks_for_nothing(page: Any, autojump_clock: MockClock) -> None:
    async with open_server() as talk:
        talk.server.pages = [page]
        await talk.check()


async def test_a_list_is_asked_for_again_after_a_day_whatever_the_server_says(autojump_clock: MockClock) -> None:
    async with open_server() as talk:
        talk.server.listens = None
        talk.server.ttl_ms = 10**400
        await talk.check(region="us-west1")
        await trio.sleep(80_000)
        await talk.check(region="us-west1")
        assert talk.server.lists == 1
        await trio.sleep(10_000)
        await talk.check(region="us-west1")
        assert talk.server.lists == 2


async def test_a_server_that_does_not_answer_is_not_taken_to_have_no_rules_for_ever(autojump_clock: MockClock) -> None:
    async with open_server(request_timeout=300) as talk:
        await talk.check(region="us-west1")
        await talk.change([EXECUTE_SQL])
        talk.server.silent = True
        await talk.check(region="us-west1")
        assert trio.current_time() == 300
        talk.server.silent = False
        await trio.sleep(6)
        with pytest.raises(HeaderMismatch):
            await talk.check(region="elsewhere")


async def test_a_list_without_an_end_is_left_after_many_pages(autojump_clock: MockClock) -> None:
    async with open_server() as talk:
        talk.server.pages = [[EXECUTE_SQL], *[[]] * 1000]
        await talk.check(region="us-west1")
        assert len(talk.server.metas) == 1 + 100


async def test_a_server_that_dies_meanwhile_is_for_the_call_to_find_out(autojump_clock: MockClock) -> None:
    async with open_server() as talk:
        talk.server.silent = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.check)
            await wait_all_tasks_blocked()
            talk.transport.end(ChildExited("gone"))
