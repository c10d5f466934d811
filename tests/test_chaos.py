"""Fifty clients at once, of every transport, and everything goes wrong that can; yet nothing is lost, and nothing doubled.

Servers die in the middle of calls, connections are cut and streams resumed, calls are cancelled, one client reads nothing.
Progress and log messages are numbered, so that each client knows what it should have heard.  What happens to whom is chance,
with a seed.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import pytest
import trio

from tests import modern, wire
from tests.proxies import descendants, is_alive, open_test_proxy, python
from tests.puppet import notification, request
from trioproxy.config import LimitConfig, TimeConfig

SERVER = python(
    r"""
import json, os, sys, time
def say(**message):
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    sys.stdout.buffer.flush()
for line in sys.stdin.buffer:
    message = json.loads(line)
    method, number, params = message.get("method"), message.get("id"), message.get("params", {})
    if number is None:
        continue
    if method == "initialize":
        info = {"name": "chaos", "version": "1"}
        say(id=number, result={"protocolVersion": params["protocolVersion"], "capabilities": {}, "serverInfo": info})
        continue
    if method != "tools/call":
        say(id=number, error={"code": -32601, "message": "no"})
        continue
    wanted = params["arguments"]
    token = params.get("_meta", {}).get("progressToken")
    for step in range(1, wanted["steps"] + 1):
        progress = {"progressToken": token, "progress": step, "message": wanted.get("padding")}
        say(method="notifications/progress", params=progress)
        if step == wanted.get("dies_at"):
            os._exit(3)
    for data in wanted.get("logs", []):
        say(method="notifications/message", params={"level": "info", "data": data})
    time.sleep(wanted.get("delay", 0))
    if not wanted.get("hangs"):
        say(id=number, result={"content": []})
"""
)
"""A server whose one tool makes so many steps, and then dies, hangs, logs or answers, as its arguments have it."""


SEEDS = 10 if os.environ.get("TRIOPROXY_SOAK") == "1" else 1

happened: Counter[str] = Counter()
"""How often what has happened to anybody."""


@dataclass
class Told:
    """What a client has heard of one call."""

    steps: int
    progress: list[int] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether an answer has come."""
        return bool(self.answers)

    def check(self) -> None:
        """Check that nothing is missing, and that nothing came twice."""
        (answer,) = self.answers
        assert self.progress == list(range(1, len(self.progress) + 1))
        assert len(self.progress) <= self.steps
        if "result" in answer:
            assert len(self.progress) == self.steps
        else:
            assert answer["error"]["code"] in (-32603, -32000, -32001, -32800), answer

    def check_cut(self) -> None:
        """Check what was heard until the client had heard enough."""
        assert self.progress == list(range(1, len(self.progress) + 1))
        assert self.answers == []


class Listener:
    """What one client has heard, of all its calls and of none."""

    def __init__(self) -> None:
        self.calls: dict[int | str, Told] = {}
        self.logs: list[int] = []
        self.asked = 0

    def ask(self, steps: int, **wanted: Any) -> tuple[int, dict[str, Any]]:
        """Return a new call's id, and its arguments."""
        self.asked += 1
        self.calls[self.asked] = Told(steps)
        return self.asked, {"steps": steps, **wanted}

    def hear(self, message: dict[str, Any]) -> None:
        """Take note of one message."""
        method = message.get("method")
        if method == "notifications/progress":
            self.calls[message["params"]["progressToken"]].progress.append(message["params"]["progress"])
        elif method == "notifications/message":
            self.logs.append(message["params"]["data"])
        else:
            assert method is None, message
            self.calls[message["id"]].answers.append(message)


async def hear(stream: wire.Stream, listener: Listener, enough: int | None = None) -> str | None:
    """Listen to a response until its end, or until there were `enough` events; return the id of the last one."""
    if stream.headers["content-type"] == "application/json":
        body = b""
        while (data := await stream._connection.next_data()) is not None:
            body += data
        listener.hear(json.loads(body))
        return None
    last = None
    heard = 0
    while (event := await stream.next_event()) is not None:
        last = event.id or last
        if event.data:
            listener.hear(event.message)
            heard += 1
        if enough is not None and heard >= enough and last is not None:
            break
    return last


# A client of Streamable HTTP: what is cut is resumed


class Legacy:
    """One session, its standalone stream, and what chance does to both."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self.url = url
        self.chance = chance
        self.listener = Listener()
        self.deaths = 0
        self.promised: set[int] = set()
        self.may_cut = True
        self.is_listening = trio.Event()

    async def live(self) -> None:
        """Open the session, do this and that, and end it."""
        self.client = await wire.initialize(self.url)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.listen)
            for _ in range(5):
                await self.chance.choice([self.work, self.work_twice, self.cancel, self.log, self.log_beside, self.die])()
            self.may_cut = False
            self.is_listening = trio.Event()
            await self.is_listening.wait()
            assert (await wire.request(self.url, "DELETE", self.client.headers)).status == 204
        for told in self.listener.calls.values():
            told.check()
        assert len(self.listener.logs) == len(set(self.listener.logs)), "a log message came twice"
        assert self.promised <= set(self.listener.logs), "a log message is lost"

    async def listen(self) -> None:
        """Read the standalone stream, with interruptions, to its end."""
        last: dict[str, str] = {}
        while True:
            async with self.client.listen(**last) as stream:
                happened["listening again"] += bool(last)
                assert stream.status == 200
                first = await stream.next_event()
                last = {"last_event_id": first.id}
                self.is_listening.set()
                with trio.move_on_after(self.chance.uniform(0, 0.3) if self.may_cut else 30):
                    while (event := await stream.next_event()) is not None:
                        last = {"last_event_id": event.id} if event.id else last
                        if event.data:
                            self.listener.hear(event.message)
                        self.is_listening.set()
                    return

    async def call(self, steps: int, **wanted: Any) -> Told:
        """Make a call, and hear it to its end, with as many interruptions as it takes."""
        number, arguments = self.listener.ask(steps, **wanted)
        told = self.listener.calls[number]
        async with self.client.open_post(wire.tool_call("x", number, number, **arguments)) as stream:
            last = await hear(stream, self.listener, self.patience())
        while not told.is_over:
            assert last is not None
            happened["call resumed"] += 1
            async with self.client.listen(last_event_id=last) as stream:
                assert stream.status == 200
                last = await hear(stream, self.listener, self.patience()) or last
        return told

    def patience(self) -> int | None:
        """After how many messages a connection is cut, if it is."""
        return self.chance.choice([None, None, 1, 2, 5])

    async def work(self) -> None:
        assert "result" in (await self.call(self.chance.randrange(1, 20))).answers[0]

    async def work_twice(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.work)
            nursery.start_soon(self.work)

    async def cancel(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.hang)
            number = self.listener.asked + 1
            while number not in self.listener.calls or not self.listener.calls[number].progress:  # noqa: ASYNC110
                await trio.sleep(0.01)
            cancelled = notification("notifications/cancelled", requestId=number)
            assert (await self.client.post(cancelled)).status == 202
            happened["call cancelled"] += 1

    async def hang(self) -> None:
        assert "error" in (await self.call(1, hangs=True)).answers[0]

    async def log(self) -> None:
        numbers = range(len(self.promised), len(self.promised) + 8)
        await self.call(1, logs=list(numbers))
        self.promised.update(numbers)

    async def log_beside(self) -> None:
        """With two calls in flight, nothing says whose the messages are: they come on the standalone stream."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.work)
            nursery.start_soon(self.log)

    async def die(self) -> None:
        if self.deaths < 2:
            self.deaths += 1
            happened["server died"] += 1
            assert "error" in (await self.call(9, dies_at=self.chance.randrange(1, 9))).answers[0]


# A client of HTTP with SSE: what is cut is over


class SSE:
    """Sessions, one after the other, each as long as its stream."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self.url = url
        self.chance = chance

    async def live(self) -> None:
        """Be several clients, one after the other."""
        for _ in range(2):
            await self.live_once()

    async def live_once(self) -> None:
        listener = Listener()
        cancelled: set[int | str] = set()
        async with wire.open_stream(urljoin(self.url, "/sse")) as stream, trio.open_nursery() as nursery:
            event = await stream.next_event()
            assert event is not None
            assert event.data is not None
            endpoint = urljoin(self.url, event.data)
            hello = request("initialize", 0, protocolVersion="2024-11-05", capabilities={}, clientInfo={})
            await self.post(endpoint, hello)
            assert (await stream.next_message())["id"] == 0
            await self.post(endpoint, notification("notifications/initialized"))
            nursery.start_soon(self.listen, stream, listener)
            dies = self.chance.randrange(4)
            for number in range(4):
                steps = self.chance.randrange(1, 20)
                wanted: dict[str, Any] = {"dies_at": steps} if number == dies else self.chance.choice([{}, {"hangs": True}])
                call, arguments = listener.ask(steps, **wanted)
                told = listener.calls[call]
                await self.post(endpoint, wire.tool_call("x", call, call, **arguments))
                if "hangs" in wanted:
                    cancelled.add(call)
                    while len(told.progress) < steps:  # noqa: ASYNC110
                        await trio.sleep(0.01)
                    await self.post(endpoint, notification("notifications/cancelled", requestId=call))
                else:
                    while not told.is_over:  # noqa: ASYNC110
                        await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        for name, told in listener.calls.items():
            # Here a cancelled call is not answered any more, unless its server dies before it is forgotten.
            if name not in cancelled:
                told.check()
            assert told.progress == list(range(1, len(told.progress) + 1))

    async def listen(self, stream: wire.Stream, listener: Listener) -> None:
        while (message := await stream.next_message()) is not None:
            listener.hear(message)

    async def post(self, endpoint: str, message: Any) -> None:
        answer = await wire.request(endpoint, "POST", {"content-type": "application/json"}, json.dumps(message).encode())
        assert answer.status == 202, answer


# A client of 2026-07-28: what is cut is cancelled


class Modern:
    """Calls, each for itself; some share a server with others, and its death."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self.url = url
        self.chance = chance
        self.name = f"client {chance.randrange(4)}"

    async def live(self) -> None:
        """Make some calls."""
        for number in range(6):
            steps = self.chance.randrange(1, 20)
            wanted: dict[str, Any] = self.chance.choice([{}, {}, {"hangs": True}, {"dies_at": steps}])
            capabilities = self.chance.choice([{}, modern.ASKABLE])
            told = Told(steps)
            listener = Listener()
            listener.calls[number] = told
            arguments = {"steps": steps, **wanted}
            call = modern.tool_call("x", number, arguments, token=number, client=self.name, capabilities=capabilities)
            async with modern.open_post(self.url, call) as stream:
                cut = self.chance.choice([1, steps]) if "hangs" in wanted else self.chance.choice([None, None, 1])
                await self.hear(stream, listener, cut)
            if told.is_over:
                told.check()
            else:
                assert cut is not None
                told.check_cut()
                happened["call cut"] += 1

    async def hear(self, stream: wire.Stream, listener: Listener, enough: int | None) -> None:
        if stream.headers["content-type"] == "application/json":
            await hear(stream, listener)
            return
        heard = 0
        while (message := await stream.next_message()) is not None:
            listener.hear(message)
            heard += 1
            if heard == enough:
                return


@asynccontextmanager
async def open_chaos(**times: Any) -> AsyncIterator[Any]:
    """A proxy, of whose children none is alive when it has ended."""
    before = set(descendants(os.getpid()))
    limits = LimitConfig(event_store_max_events=500, event_store_max_bytes=1_000_000)
    config = TimeConfig(**{"graceful_shutdown_timeout": 0, **times})
    async with open_test_proxy(SERVER, times=config, limits=limits, child={"spares": 4}) as proxy:
        yield proxy
    assert set(descendants(os.getpid())) <= before


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_every_call_has_one_answer_and_every_message_comes_once(seed: int) -> None:
    happened.clear()
    kinds: list[Any] = [Legacy] * 20 + [SSE] * 14 + [Modern] * 15
    async with open_chaos() as proxy:
        deaf = await wire.initialize(proxy.url)
        flood = Told(200)
        listener = Listener()
        listener.calls[1] = flood
        call = wire.tool_call("x", 1, 1, steps=flood.steps, padding="x" * 50_000)
        async with deaf.open_post(call) as unread:
            async with trio.open_nursery() as nursery:
                for number, kind in enumerate(kinds):
                    nursery.start_soon(kind(proxy.url, random.Random(f"{seed} {number}")).live)
            # Who read nothing all the time has lost nothing either.
            assert not flood.progress
            await hear(unread, listener)
        flood.check()
    assert len(happened) == 5
    assert min(happened.values()) >= 5, happened


async def test_in_the_middle_of_a_shutdown_too_every_call_has_one_answer() -> None:
    """What ends in time has its own; what does not, an error that says why."""
    async with AsyncExitStack() as stack:
        async with open_chaos(graceful_shutdown_timeout=1) as proxy:
            streams: list[tuple[Listener, wire.Stream, bool]] = []
            for number in range(48):
                hangs = number % 2 == 0
                listener = Listener()
                call, arguments = listener.ask(3, **({"hangs": True} if hangs else {"delay": 0.5}))
                if number % 3:
                    client = await wire.initialize(proxy.url)
                    opening = client.open_post(wire.tool_call("x", call, call, **arguments))
                else:
                    said = modern.tool_call("x", call, arguments, token=call, client=f"client {number}")
                    opening = modern.open_post(proxy.url, said)
                streams.append((listener, await stack.enter_async_context(opening), hangs))
            deaf = await wire.initialize(proxy.url)
            unread = deaf.open_post(wire.tool_call("x", 1, 1, steps=200, padding="x" * 50_000))
            await stack.enter_async_context(unread)
            children = descendants(os.getpid())
        for listener, stream, hangs in streams:
            await hear(stream, listener)
            (told,) = listener.calls.values()
            told.check()
            assert ("error" in told.answers[0]) is hangs
        assert [pid for pid in children if is_alive(pid)] == []
