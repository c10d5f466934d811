"""How we find out of which era a server is, and what becomes of the children that are asked.  They are real."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from trioproxy.config import ChildConfig, Config, LimitConfig, TimeConfig
from trioproxy.directory import Directory, open_directory
from trioproxy.modern_children import ModernChildren
from trioproxy.protocol.errors import HeaderMismatch

from .modern import SUBSCRIPTION_ID, listen, parse, request, tool_call
from .proxies import is_alive, python, wait_gone
from .puppet import response
from .test_multiplex import acknowledged, read

SERVER = r"""
import json, os, sys
path = sys.argv[1]
with open(path + ".started", "a") as file:
    print(os.getpid(), file=file)
def era():
    with open(path) as file:
        return file.read()
def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
def fail(number, code, **data):
    say(id=number, error={"code": code, "message": "no", "data": data})
def answer(number, **result):
    say(id=number, result={"pid": os.getpid(), "heard": heard, **result})
heard = []
for line in sys.stdin:
    message = json.loads(line)
    method, number, params = message["method"], message.get("id"), message.get("params", {})
    heard.append(method)
    speaks = era()
    if method == "server/discover":
        if speaks == "modern":
            answer(number, resultType="complete", supportedVersions=["2026-07-28"], capabilities={})
        elif speaks == "of another time":
            answer(number, resultType="complete", supportedVersions=["2027-01-01"], capabilities={})
        elif speaks == "modern, and modest":
            fail(number, -32022, supported=["2026-07-28"], requested="?")
        elif speaks == "of another time, and modest":
            fail(number, -32022, supported=["2027-01-01"], requested="?")
        elif speaks == "modern, and demanding":
            fail(number, -32021, requiredCapabilities={"roots": {}})
        elif speaks == "fragile":
            os._exit(3)
        elif speaks != "silent":
            fail(number, -32601)
    elif method == "initialize":
        if speaks.startswith("modern"):
            fail(number, -32601)
        else:
            answer(number, protocolVersion=params["protocolVersion"], capabilities={"tools": {"listChanged": True}},
                   serverInfo={"name": "s", "version": "1"})
    elif method == "subscriptions/listen":
        meta = {"io.modelcontextprotocol/subscriptionId": number}
        say(method="notifications/subscriptions/acknowledged", params={"_meta": meta, "notifications": {}})
    elif number is not None and params.get("name") != "wait":
        answer(number, tools=[])
"""
"""A server whose era is in a file, and can change; it tells which process it is, and what it has heard."""


class Clients:
    """What clients do, and what is known of the children."""

    def __init__(self, children: ModernChildren, directory: Directory, config: Config, path: Path) -> None:
        self.children = children
        self.directory = directory
        self.config = config
        self._path = path

    def set_era(self, era: str) -> None:
        """Exchange the server for another."""
        self._path.write_text(era)

    @property
    def started(self) -> list[int]:
        """The process ids of all children so far."""
        path = self._path.with_suffix(".started")
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def open_call(self, message: dict[str, Any]) -> Any:
        """Make a request (`async with`)."""
        return self.children.open_call(*parse(message), lambda _: [])

    async def answer(self, message: dict[str, Any]) -> Any:
        """Make a request, and return the response."""
        async with self.open_call(message) as call:
            return (await read(call))[-1]

    async def ask(self, **client: Any) -> Any:
        """Make a request, and return its result."""
        return (await self.answer(request("tools/list", **client)))["result"]


@asynccontextmanager
async def run(
    path: Path, era: str, upstream: Any = "auto", spares: int = 0, max_sessions: int = 100, **times: Any
) -> AsyncIterator[Clients]:
    path = path / "era"
    path.write_text(era)
    config = Config(
        ChildConfig((*python(SERVER), str(path)), spares=spares),
        limits=LimitConfig(max_sessions=max_sessions),
        times=TimeConfig(**times),
        upstream_protocol=upstream,
    )
    async with open_directory(config) as directory:
        await until(lambda: directory.spares > 0)
        yield Clients(ModernChildren(config, directory), directory, config, path)


async def until(condition: Callable[[], bool]) -> None:
    """Return once something is the case."""
    while not condition():  # noqa: ASYNC110  nobody tells us
        await trio.sleep(0.005)


# The verdict


@pytest.mark.parametrize("era", ["modern", "modern, and modest", "modern, and demanding"])
async def test_a_modern_server_is_known_by_its_answer_and_who_was_asked_serves_everybody(era: str, tmp_path: Path) -> None:
    """Transports §stdio, Backward Compatibility: a DiscoverResult, or "a recognized modern JSON-RPC error"."""
    async with run(tmp_path, era) as clients:
        one, two = await clients.ask(), await clients.ask(client="another", capabilities={"elicitation": {}})
        assert one["heard"] == ["server/discover", "tools/list"]
        assert two["heard"] == ["server/discover", "tools/list", "tools/list"]
        assert clients.started == [one["pid"]]


@pytest.mark.parametrize("era", ["legacy", "of another time", "of another time, and modest", "fragile"])
async def test_any_other_answer_is_a_legacy_servers_and_who_was_asked_is_thrown_away(era: str, tmp_path: Path) -> None:
    """Some servers are locked to the era of the first request that they see."""
    async with run(tmp_path, era) as clients:
        one, two = await clients.ask(), await clients.ask()
        assert one["heard"] == ["initialize", "notifications/initialized", "tools/list"]
        assert one["resultType"] == "complete"
        assert two["pid"] == one["pid"]
        asked, *others = clients.started
        assert others == [one["pid"]]
        await wait_gone(asked)


async def test_a_server_that_does_not_answer_is_a_legacy_one_after_a_while(tmp_path: Path) -> None:
    async with run(tmp_path, "silent", connection_timeout=0.1) as clients:
        assert (await clients.ask())["heard"][0] == "initialize"


async def test_the_verdict_is_remembered(tmp_path: Path) -> None:
    """ "The era determination is a property of the server, not of an individual request"."""
    async with run(tmp_path, "legacy") as clients:
        await clients.ask()
        before = len(clients.started)
        # For another client a new child is needed, and no question.
        assert (await clients.ask(client="another"))["heard"][0] == "initialize"
        assert len(clients.started) == before + 1


@pytest.mark.parametrize(("era", "children"), [("modern", 1), ("legacy", 2)])
async def test_requests_that_come_at_once_find_out_together(era: str, children: int, tmp_path: Path) -> None:
    async with run(tmp_path, era) as clients:
        pids = set()

        async def ask() -> None:
            pids.add((await clients.ask())["pid"])

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert len(pids) == 1
        assert len(clients.started) == children


async def test_a_spare_is_asked_and_the_others_are_left_alone(tmp_path: Path) -> None:
    async with run(tmp_path, "legacy", spares=2) as clients:
        await until(lambda: len(clients.started) == 2)
        await until(lambda: clients.directory.spares == 2)
        spares = set(clients.started)
        served = (await clients.ask())["pid"]
        assert served in spares
        (asked,) = spares - {served}
        await wait_gone(asked)


async def test_who_leaves_while_the_server_is_asked_leaves_the_question_to_the_next(tmp_path: Path) -> None:
    async with run(tmp_path, "silent") as clients:
        with trio.move_on_after(0.1) as left:
            await clients.ask()
        assert left.cancelled_caught
        clients.set_era("modern")
        assert (await clients.ask())["heard"] == ["server/discover", "tools/list"]
        await wait_gone(clients.started[0])


# Who is told which it is


@pytest.mark.parametrize("upstream", ["legacy", "modern"])
async def test_a_server_whose_era_we_are_told_is_not_asked(upstream: str, tmp_path: Path) -> None:
    async with run(tmp_path, upstream, upstream) as clients:
        assert "server/discover" not in (await clients.ask())["heard"]
        assert len(clients.started) == 1


async def test_a_server_of_which_we_are_told_that_it_is_a_legacy_one_stays_one(tmp_path: Path) -> None:
    async with run(tmp_path, "modern", "legacy") as clients:
        for _ in range(2):
            answer = await clients.answer(request("tools/list", "me"))
            assert (answer["id"], answer["error"]["code"]) == ("me", -32603)
        # And yet the next child may take part in the handshake.
        clients.set_era("legacy")
        assert (await clients.ask())["heard"][0] == "initialize"


# A server that is exchanged for another


async def test_after_its_death_the_next_one_is_asked_again(tmp_path: Path) -> None:
    async with run(tmp_path, "modern") as clients:
        first = (await clients.ask())["pid"]
        clients.set_era("legacy")
        os.kill(first, signal.SIGKILL)
        await wait_gone(first)
        while True:
            answer = await clients.answer(request("tools/list"))
            if "result" in answer:
                break
            assert answer["error"]["code"] == -32603
        assert answer["result"]["heard"][0] == "initialize"


@pytest.mark.parametrize("message", [request("tools/list", "me"), tool_call("x", "me"), listen("me")])
async def test_a_refused_handshake_makes_us_ask_again(message: dict[str, Any], tmp_path: Path) -> None:
    async with run(tmp_path, "legacy") as clients:
        first = (await clients.ask(client="another"))["pid"]
        clients.set_era("modern")
        # The one that finds it out fails; a call that was made can't be made again.
        answer = await clients.answer(message)
        assert (answer["id"], answer["error"]["code"]) == ("me", -32603)
        second = await clients.ask()
        assert second["heard"] == ["server/discover", "tools/list"]
        assert second["pid"] != first


# What stands behind either


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_subscription_is_carried_by_either(era: str, tmp_path: Path) -> None:
    async with run(tmp_path, era) as clients, clients.open_call(listen("sub", toolsListChanged=True)) as call:
        _, (message,) = await call.read()
        honoured = {"toolsListChanged": True} if era == "legacy" else {}
        assert json.loads(message) == acknowledged("sub", **honoured)
        await clients.directory.drain(0)
        result = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: "sub"}}
        assert await read(call) == [response("sub", **result)]


async def test_a_subscription_at_a_legacy_server_and_a_call_of_the_same_client_share_a_child(tmp_path: Path) -> None:
    async with run(tmp_path, "legacy") as clients, clients.open_call(listen("sub", toolsListChanged=True)):
        one = (await clients.ask())["pid"]
        assert clients.started[1:] == [one]


async def test_one_place_is_enough_for_a_legacy_server_once_the_one_that_was_asked_is_gone(tmp_path: Path) -> None:
    async with run(tmp_path, "legacy", max_sessions=1) as clients:
        assert (await clients.ask())["heard"][0] == "initialize"
        assert not is_alive(clients.started[0])


async def test_the_arguments_of_a_tool_are_checked_against_the_headers(tmp_path: Path) -> None:
    """Whichever era its server is of; `test_tool_headers` has the rules."""
    region = {"type": "string", "x-mcp-header": "Region"}
    tool = {"name": "sql", "inputSchema": {"type": "object", "properties": {"region": region}}}
    program = SERVER.replace("tools=[]", f"tools=[{tool!r}]")
    for era in ("modern", "legacy"):
        path = tmp_path / era
        path.write_text(era)
        config = Config(ChildConfig((*python(program), str(path)), spares=0))
        async with open_directory(config) as directory:
            clients = Clients(ModernChildren(config, directory), directory, config, path)
            with pytest.raises(HeaderMismatch):
                await clients.answer(tool_call("sql", arguments={"region": "us-west1"}))
            await clients.answer(tool_call("sql", arguments={}))
