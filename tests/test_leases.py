"""Which modern request gets which legacy child.  The children are real."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioproxy import leases as leases_module
from trioproxy.call import Call
from trioproxy.config import ChildConfig, Config, LimitConfig, TimeConfig
from trioproxy.directory import Directory, open_directory
from trioproxy.leases import Lane, Leases, MergedListen
from trioproxy.protocol.errors import CommandFailed, InvalidParams, ShuttingDown, Unavailable

from . import wire
from .modern import ASKABLE, SUBSCRIPTION_ID, answer_all, listen, parse, post, request, tool_call
from .proxies import is_alive, open_test_proxy, python, wait_gone
from .puppet import PUPPET, response
from .test_multiplex import acknowledged, read, stamped

LEGACY_SERVER = r"""
import json, os, sys
runs, questions = 0, {}
def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
def answer(request_id, **result):
    say(id=request_id, result={"pid": os.getpid(), "runs": runs, **result})
for line in sys.stdin:
    message = json.loads(line)
    method, number, params = message.get("method"), message.get("id"), message.get("params", {})
    tool = params.get("name") if method == "tools/call" else None
    if method == "initialize":
        capabilities = {"tools": {"listChanged": True}, "logging": {}}
        info = {"name": "legacy", "version": "1"}
        answer(number, protocolVersion=params["protocolVersion"], capabilities=capabilities, serverInfo=info)
    elif method is None:
        answer(questions.pop(number), answered=message.get("result"))
    elif tool == "ask":
        runs += 1
        questions["q%d" % runs] = number
        asked = {"message": "Name?", "requestedSchema": {"type": "object", "properties": {}}}
        say(id="q%d" % runs, method="elicitation/create", params=asked)
    elif tool == "change":
        say(method="notifications/tools/list_changed")
        answer(number)
    elif tool == "wait":
        pass
    elif number is not None:
        answer(number)
"""
"""A server of the handshake era, which tells with each result who it is and how often it was asked to `ask`."""


class Clients:
    """Leases, and what clients do with them."""

    def __init__(self, leases: Leases, directory: Directory, config: Config) -> None:
        self.leases = leases
        self.directory = directory
        self._config = config

    def lease(self, message: dict[str, Any]) -> Any:
        """Lease a child (`async with`)."""
        return self.leases.lease(*parse(message))

    @asynccontextmanager
    async def call(self, message: dict[str, Any]) -> AsyncIterator[tuple[Lane, Call]]:
        """Lease a child for a request, and make it."""
        parsed, envelope = parse(message)
        async with self.leases.lease(parsed, envelope) as lane:
            with Call(parsed, envelope, self._config) as call:
                lane.multiplex.attach(call)
                yield lane, call

    async def ask(self, message: dict[str, Any]) -> Any:
        """Make a request, and return what it is answered with."""
        async with self.call(message) as (_, call):
            answer = (await read(call))[-1]
        return answer.get("result", answer)

    async def pid(self, **client: Any) -> int:
        """Return the process id of the child that is leased to a call of a client."""
        pid: int = (await self.ask(tool_call("pid", **client)))["pid"]
        return pid

    @asynccontextmanager
    async def listen(self, message: dict[str, Any]) -> AsyncIterator[Call]:
        """Open a subscription."""
        with MergedListen(*parse(message), self._config) as call:
            async with self.leases.listen(call):
                yield call


@asynccontextmanager
async def run(*command: str, max_sessions: int = 100, spares: int = 0, **times: float | None) -> AsyncIterator[Clients]:
    config = Config(
        ChildConfig(command or python(LEGACY_SERVER), spares=spares),
        limits=LimitConfig(max_sessions=max_sessions),
        times=TimeConfig(**times),  # type: ignore[arg-type]
        upstream_protocol="legacy",
    )
    async with open_directory(config) as directory:
        await until(lambda: directory.spares > 0)
        yield Clients(Leases(config, directory), directory, config)


async def until(condition: Callable[[], bool]) -> None:
    """Return once something is the case."""
    while not condition():  # noqa: ASYNC110  nobody tells us
        await trio.sleep(0.005)


ADA = {"action": "accept", "content": {"name": "Ada"}}


# One call after the other, and side by side


async def test_one_call_after_the_other_meets_the_same_child() -> None:
    async with run() as clients:
        assert len({await clients.pid(capabilities=ASKABLE) for _ in range(3)}) == 1


@pytest.mark.parametrize("capability", ["elicitation", "sampling", "roots"])
async def test_calls_side_by_side_of_a_client_that_can_be_asked_meet_different_children(capability: str) -> None:
    """A question does not say in which call it is asked."""
    waiting = tool_call("wait", capabilities={capability: {}})
    async with run() as clients, clients.call(waiting) as (one, _), clients.call(waiting) as (two, _):
        assert one is not two
        third = await clients.pid(capabilities={capability: {}})
        assert await clients.pid(capabilities={capability: {}}) == third


async def test_calls_side_by_side_of_a_client_that_can_be_asked_nothing_share_a_child() -> None:
    waiting = tool_call("wait", capabilities={"experimental": {"elicitation": {}}})
    async with run() as clients, clients.call(waiting) as (one, _), clients.call(waiting) as (two, _):
        assert one is two


async def test_a_call_that_wants_logs_has_a_child_for_itself() -> None:
    """A log message does not say of which call it is."""
    async with run() as clients, clients.call(tool_call("wait")) as (quiet, _):
        async with clients.call(tool_call("wait", log_level="info")) as (curious, _):
            assert curious is not quiet
            # Nobody joins it there.
            async with clients.call(tool_call("wait")) as (another, _):
                assert another is quiet
        # Nor does it join anybody; once it has gone its child is free for all.
        async with clients.call(tool_call("wait", log_level="info")) as (curious_again, _):
            assert curious_again is curious


async def test_a_request_that_is_no_call_needs_no_child_for_itself() -> None:
    async with run() as clients, clients.call(tool_call("wait", capabilities=ASKABLE)) as (lane, _):
        for method in ("tools/list", "server/discover", "completion/complete"):
            async with clients.lease(request(method, capabilities=ASKABLE)) as another:
                assert another is lane


async def test_a_call_may_join_a_request_that_is_none() -> None:
    listing, calling = request("tools/list", capabilities=ASKABLE), tool_call("wait", capabilities=ASKABLE)
    async with run() as clients, clients.lease(listing) as one, clients.lease(calling) as two:
        assert one is two


async def test_clients_that_differ_in_name_or_capabilities_share_no_child() -> None:
    """A legacy server learns both in its handshake, and may act on them."""
    async with run() as clients:
        pids = [
            await clients.pid(),
            await clients.pid(client="another"),
            await clients.pid(capabilities=ASKABLE),
            await clients.pid(capabilities={"elicitation": {}}),
        ]
        assert len(set(pids)) == 4
        assert await clients.pid(capabilities={"elicitation": {}}) == pids[3]


async def test_requests_that_come_at_once_start_one_child_where_they_can_share_it() -> None:
    async with run() as clients:
        lanes = []

        async def lease() -> None:
            async with clients.lease(tool_call("wait")) as lane:
                lanes.append(lane)
                await until(lambda: len(lanes) == 5)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(lease)
        assert len(set(lanes)) == 1


async def test_requests_that_come_at_once_start_a_child_each_where_they_can_not() -> None:
    async with run() as clients:
        lanes = []

        async def lease() -> None:
            async with clients.lease(tool_call("wait", capabilities=ASKABLE)) as lane:
                lanes.append(lane)
                await until(lambda: len(lanes) == 5)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(lease)
        assert len(set(lanes)) == 5


# Parked calls


async def test_a_parked_call_keeps_its_child_and_its_retry_finds_it() -> None:
    async with run() as clients:
        first = tool_call("ask", 1, capabilities=ASKABLE)
        asked = await clients.ask(first)
        other_pid = await clients.pid(capabilities=ASKABLE)
        answer = await clients.ask(answer_all(first, asked, 2, ADA))
        assert answer["answered"] == ADA
        # The call was made once.
        assert answer["runs"] == 1
        assert answer["pid"] != other_pid
        # Now it is as free as the other.
        async with AsyncExitStack() as stack:
            waiting = tool_call("pid", capabilities=ASKABLE)
            calls = [await stack.enter_async_context(clients.call(waiting)) for _ in range(2)]
            pids = [(await read(call))[-1]["result"]["pid"] for _, call in calls]
        assert set(pids) == {answer["pid"], other_pid}


async def test_parked_calls_side_by_side_are_told_apart() -> None:
    async with run() as clients:
        firsts = [tool_call("ask", 1, {"n": n}, capabilities=ASKABLE) for n in range(3)]
        asked = [await clients.ask(first) for first in firsts]
        assert len({a["requestState"] for a in asked}) == 3
        for n in (2, 0, 1):
            accepted = {"action": "accept", "content": {"name": str(n)}}
            answer = await clients.ask(answer_all(firsts[n], asked[n], 2, accepted))
            assert answer["answered"] == accepted


@pytest.mark.parametrize("state", ["guessed", "", 5, None, ["x"], {}])
async def test_a_retry_of_what_is_not_parked_is_refused_without_a_child(state: Any) -> None:
    async with run() as clients:
        retry = tool_call("ask", capabilities=ASKABLE)
        retry["params"]["requestState"] = state
        with pytest.raises(InvalidParams, match="Invalid or expired requestState"):
            async with clients.lease(retry):
                pass
        assert not clients.directory.is_full


async def test_a_parked_call_is_lost_with_its_child() -> None:
    async with run() as clients:
        first = tool_call("ask", 1, capabilities=ASKABLE)
        pid = await clients.pid(capabilities=ASKABLE)
        asked = await clients.ask(first)
        retry = answer_all(first, asked, 2, ADA)
        async with clients.lease(retry) as lane:
            os.kill(pid, signal.SIGKILL)
            await until(lambda: lane.multiplex.has_ended)
        with pytest.raises(InvalidParams):
            await clients.ask(retry)
        assert await clients.pid(capabilities=ASKABLE) != pid


# The limits


async def test_there_are_so_many_children_for_one_client_and_who_comes_then_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "_MAX_LANES", 2)
    waiting = tool_call("wait", capabilities=ASKABLE)
    async with run() as clients, AsyncExitStack() as stack:
        leased = [await stack.enter_async_context(clients.lease(waiting)) for _ in range(2)]
        third: list[Lane] = []

        async def lease() -> None:
            async with clients.lease(waiting) as lane:
                third.append(lane)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lease)
            await wait_all_tasks_blocked()
            assert not third
            # Another client has children of its own.
            await clients.pid(client="another", capabilities=ASKABLE)
            assert not third
            await stack.aclose()
        assert third[0] in leased


async def test_who_waits_too_long_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "_MAX_LANES", 1)
    waiting = tool_call("wait", capabilities=ASKABLE)
    async with run(connection_timeout=0.2) as clients, clients.lease(waiting):
        with pytest.raises(Unavailable, match="1 calls of this client are running") as raised:
            async with clients.lease(waiting):
                pass
        assert dict(raised.value.headers)[b"retry-after"]


async def test_an_idle_child_makes_room_for_another_client() -> None:
    async with run(max_sessions=2) as clients:
        first = await clients.pid(client="first")
        second = await clients.pid(client="second")
        third = await clients.pid(client="third")
        # The one that has been idle for longest.
        assert not is_alive(first)
        assert is_alive(second)
        assert len({first, second, third}) == 3


async def test_a_child_that_is_slow_to_go_does_not_take_others_with_it() -> None:
    slow = LEGACY_SERVER + "\nimport time\ntime.sleep(0.3)\n"
    async with run(*python(slow), max_sessions=2) as clients:
        first = await clients.pid(client="first")
        second = await clients.pid(client="second")
        await clients.pid(client="third")
        assert not is_alive(first)
        assert await clients.pid(client="second") == second


@pytest.mark.parametrize("kind", ["a call", "a parked call", "a subscription"])
async def test_a_child_that_is_used_makes_room_for_nobody(kind: str) -> None:
    async with run(max_sessions=1, connection_timeout=0.3) as clients, AsyncExitStack() as stack:
        if kind == "a call":
            await stack.enter_async_context(clients.call(tool_call("wait")))
        elif kind == "a parked call":
            await clients.ask(tool_call("ask", capabilities=ASKABLE))
        else:
            await stack.enter_async_context(clients.listen(listen(toolsListChanged=True)))
        with pytest.raises(Unavailable):
            await clients.pid(client="another")


async def test_an_idle_child_is_ended_after_a_while() -> None:
    async with run(session_idle_timeout=0.2) as clients:
        pid = await clients.pid()
        await wait_gone(pid)
        assert await clients.pid() != pid


# Children that die, and that can't be started


async def test_a_child_that_has_died_is_leased_to_nobody() -> None:
    async with run() as clients:
        pid = await clients.pid()
        async with clients.call(tool_call("wait", 7)) as (lane, call):
            os.kill(pid, signal.SIGKILL)
            (answer,) = await read(call)
            assert (answer["id"], answer["error"]["code"]) == (7, -32603)
            assert lane.multiplex.has_ended
            assert await clients.pid() != pid


async def test_a_child_that_can_not_be_started_is_no_child_and_the_next_may_be(tmp_path: Path) -> None:
    command = tmp_path / "server"
    program = "#!" + python("")[0] + "\n" + LEGACY_SERVER
    command.write_text(program)
    command.chmod(0o755)
    async with run(str(command)) as clients:
        await clients.pid()
        command.unlink()
        with pytest.raises(CommandFailed):
            await clients.pid(client="another")
        command.write_text(program)
        command.chmod(0o755)
        await clients.pid(client="another")


async def test_a_client_that_leaves_while_its_child_is_started_holds_nobody_up() -> None:
    async with run() as clients:
        await clients.pid(client="first")
        with trio.move_on_after(0) as left:
            await clients.pid(client="another")
        assert left.cancelled_caught
        await clients.pid(client="another")


async def test_once_we_are_about_to_stop_nobody_gets_a_child() -> None:
    async with run() as clients:
        clients.directory.is_draining = True
        with pytest.raises(ShuttingDown):
            await clients.pid()


# Subscriptions


CHANGED = "notifications/tools/list_changed"


async def read_one(call: Call) -> Any:
    """Return the next message, of which no more than one has come."""
    _, (message,) = await call.read()
    return json.loads(message)


async def test_a_subscription_needs_no_call_before_it() -> None:
    async with run() as clients, clients.listen(listen("sub", toolsListChanged=True)) as subscription:
        assert await read_one(subscription) == acknowledged("sub", toolsListChanged=True)
        await clients.ask(tool_call("change"))
        assert await read_one(subscription) == stamped(CHANGED, "sub")


async def test_a_subscription_hears_of_every_child_of_its_client_and_is_acknowledged_once() -> None:
    change = tool_call("change", capabilities=ASKABLE)
    subscribe = {**listen("sub", toolsListChanged=True)}
    subscribe["params"]["_meta"] = change["params"]["_meta"]
    waiting = tool_call("wait", capabilities=ASKABLE)
    async with run() as clients, clients.call(waiting) as (one, _), clients.listen(subscribe) as subscription:
        assert await read_one(subscription) == acknowledged("sub", toolsListChanged=True)
        # This one comes later.
        async with clients.call(change) as (two, call):
            assert two is not one
            await read(call)
        assert await read_one(subscription) == stamped(CHANGED, "sub")
        # And that of another client is none of its business.
        await clients.ask(tool_call("change", client="another"))
        with trio.move_on_after(0.1) as silence:
            await subscription.read()
        assert silence.cancelled_caught


async def test_a_subscription_ends_with_a_result_when_one_of_its_children_dies_and_nothing_comes_after() -> None:
    waiting = tool_call("wait")
    subscribe = listen("sub", toolsListChanged=True)
    async with run() as clients, clients.listen(subscribe) as subscription, clients.call(waiting) as (one, _):
        async with clients.call(tool_call("wait", log_level="info")) as (two, _):
            assert one is not two
        await read_one(subscription)
        two.multiplex.close(ShuttingDown("it is over"))
        await clients.ask(tool_call("change"))
        result = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: "sub"}}
        assert await read(subscription) == [response("sub", **result)]


async def test_a_closed_subscription_is_closed_in_every_child() -> None:
    async with run() as clients:
        async with clients.call(tool_call("wait")) as (one, _):
            async with (
                clients.listen(listen(toolsListChanged=True)),
                clients.call(tool_call("wait", log_level="info")) as (two, _),
            ):
                assert one.multiplex.is_used
            assert not two.multiplex.is_used
        assert not one.multiplex.is_used


async def test_idle_children_make_room_for_a_session() -> None:
    async with open_test_proxy(PUPPET, limits=LimitConfig(max_sessions=2)) as proxy:
        for name in ("a", "b"):
            assert (await post(proxy.url, request("repeat", 1, client=name))).status == 200
        client = await wire.initialize(proxy.url)
        assert (await client.post({"jsonrpc": "2.0", "id": 1, "method": "repeat"})).status == 200
