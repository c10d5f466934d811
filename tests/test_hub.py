"""One server, several clients: what each of them meets with, whatever the others do.

Most servers here are memory transports, and the clock jumps; who hears what is `tests/protocol/sharing`'s.  A table is
nothing without its hub, and is tested here as well.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioproxy.child import open_child
from trioproxy.config import ChildConfig, Config
from trioproxy.hub import Hub, open_hub
from trioproxy.protocol.errors import ChildError, ChildExited, CommandFailed, LineTooLong, ParseError
from trioproxy.protocol.legacy_to_modern import LegacyToModern
from trioproxy.protocol.lines import OversizedLine
from trioproxy.protocol.messages import parse_line
from trioproxy.protocol.translation import Related
from trioproxy.session import Session
from trioproxy.table import Seat
from trioproxy.translate import Translated

from .memory_transport import MemoryTransport
from .modern import request as modern_request
from .protocol.depths import depths_about_the_limit
from .proxies import DEMO, python
from .puppet import MODERN_PUPPET, PUPPET, notification, progress, request, response

INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
INITIALIZED = notification("notifications/initialized")


def send(seat: Seat, *messages: Any) -> None:
    for message in messages:
        seat.send_nowait(message if isinstance(message, bytes) else json.dumps(message).encode())


async def receive(seat: Seat, count: int = 1) -> list[Any]:
    """Return so many messages for a client."""
    messages: list[Any] = []
    while len(messages) < count:
        messages += [json.loads(line) for line in await seat.receive() if isinstance(line, bytes)]
    assert len(messages) == count
    return messages


class Servers:
    """Servers in memory, in the order in which they were started."""

    def __init__(self) -> None:
        self.started: list[MemoryTransport] = []
        self.running = 0
        self.start_time = 0.0
        self.stop_time = 0.0
        self.failure: Exception | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryTransport]:
        await trio.sleep(self.start_time)
        if self.failure is not None:
            raise self.failure
        server = MemoryTransport()
        self.started.append(server)
        self.running += 1
        try:
            yield server
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.stop_time)
            self.running -= 1
            if server.failure is None:
                server.end(ChildExited("the server was stopped"))


@asynccontextmanager
async def open_servers(**options: Any) -> AsyncIterator[tuple[Hub, Servers]]:
    servers = Servers()
    async with open_hub(servers.open, **options) as hub:
        yield hub, servers
    assert servers.running == 0
    assert hub.seats == 0


# Who hears what


async def test_two_clients_talk_to_one_server_and_each_gets_its_own_answer(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers), hub.open_seat() as one, hub.open_seat() as two:
        (server,) = servers.started
        send(one, request("x", 7, of="one"))
        send(two, request("x", 7, of="two"))
        first, second = await server.hear(), await server.hear()
        server.say(response(second["id"], of="two"), response(first["id"], of="one"))
        assert await receive(one) == [response(7, of="one")]
        assert await receive(two) == [response(7, of="two")]
        assert hub.seats == 2


async def test_messages_keep_their_order(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers), hub.open_seat() as one, hub.open_seat() as two:
        (server,) = servers.started
        for n in range(100):
            send(one if n % 3 else two, request("x", n, "t", n=n))
        assert [(await server.hear())["params"]["n"] for _ in range(100)] == list(range(100))
        for n in range(100):
            server.say(progress(n + 1), response(n + 1))
        got = await receive(one, 132)
        assert got == [m for n in range(100) if n % 3 for m in (progress("t"), response(n))]


async def test_a_receive_that_is_cancelled_loses_nothing(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers), hub.open_seat() as seat:
        send(seat, request("x", 1))
        with trio.move_on_after(1):
            await seat.receive()
        servers.started[0].say(response(1))
        with trio.CancelScope() as scope:
            await wait_all_tasks_blocked()
            scope.cancel()
            await seat.receive()
        assert await receive(seat) == [response(1)]


async def test_garbage_is_nobody_s(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async with open_servers() as (hub, servers), hub.open_seat() as seat:
        send(seat, request("x", 1))
        servers.started[0].say(b"Listening on stdio!", b"[]", response(1))
        assert await receive(seat) == [response(1)]
        assert hub.skipped == {"garbage": 2}
    assert "Listening on stdio!" in caplog.text


async def test_a_client_that_sends_no_message_is_told_so(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, _), hub.open_seat() as seat:
        with pytest.raises(ParseError):
            seat.send_nowait(b"{")


async def test_a_request_too_deep_to_be_changed_is_answered_or_passed_on(autojump_clock: MockClock) -> None:
    """To read it takes a little less of the stack than to change it."""
    async with open_servers() as (hub, servers), hub.open_seat() as seat:
        refused = passed = 0

        def nested(value: bytes) -> bytes:
            return b'{"jsonrpc":"2.0","id":"a","method":"m","params":{"_meta":{"progressToken":0},"x":%b}}' % value

        for depth in depths_about_the_limit(nested):
            try:
                send(seat, nested(b"[" * depth + b"]" * depth))
            except ParseError:
                continue
            if seat.unread:
                (answer,) = await receive(seat)
                assert (answer["id"], answer["error"]["code"]) == ("a", -32700)
                refused += 1
            else:
                await servers.started[0].hear_line()
                passed += 1
        assert passed
        # Since 3.12 the scanner has a limit of its own, which is the same for both.
        assert bool(refused) == (sys.version_info < (3, 12))


async def test_what_is_known_to_belong_to_a_request_still_does(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers), hub.open_seat() as one, hub.open_seat() as two:
        send(one, request("x", "a"))
        send(two, request("x", "b"))
        related: Any = Related(b"{}", 2)
        servers.started[0].say(related)
        assert await two.receive() == [Related(b"{}", "b")]
        assert one.unread == 0


async def test_a_server_that_asks_and_does_not_read_is_told_no_more(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers), hub.open_seat() as seat:
        (server,) = servers.started
        send(seat, notification("x", filling="x" * 2_000_000))
        assert seat.is_congested
        server.say(request("ping", 1))
        await wait_all_tasks_blocked()
        assert server.unheard == 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(seat.wait_writable)
            await wait_all_tasks_blocked()
            await server.hear()
        assert not seat.is_congested
        server.say(request("ping", 1))
        assert await server.hear() == response(1)


# Who does not read


async def test_a_client_that_does_not_read_loses_its_seat_and_nobody_else_does(autojump_clock: MockClock) -> None:
    async with open_servers(max_unread=1000) as (hub, servers):
        (seat, other) = (hub.open_seat(), hub.open_seat())
        async with seat as lazy, other as diligent:
            (server,) = servers.started
            send(lazy, request("x", 1, "t"))
            send(diligent, request("x", 1, "t"))
            await server.hear()
            await server.hear()
            for n in range(12):
                server.say(progress(1, n), progress(2, n))
                assert await receive(diligent) == [progress("t", n)]
            assert hub.seats == 1
            assert (await server.hear())["method"] == "notifications/cancelled"
            came = await receive(lazy, len(lazy._inbox))
            assert came == [progress("t", n) for n in range(len(came))]
            with pytest.raises(ChildError, match=r"\d+ bytes of the server wait to be read, over the limit of 1000"):
                await lazy.receive()
            assert lazy.failure is not None
            send(lazy, request("x", 2))
            assert server.unheard == 0
            server.say(response(2))
            assert await receive(diligent) == [response(1)]


async def test_one_message_finds_room_however_long_it_is(autojump_clock: MockClock) -> None:
    async with open_servers(max_unread=1000) as (hub, servers), hub.open_seat() as seat:
        send(seat, request("x", 1), request("x", 2))
        servers.started[0].say(response(1, text="x" * 5000))
        assert await receive(seat) == [response(1, text="x" * 5000)]
        servers.started[0].say(response(2))
        assert await receive(seat) == [response(2)]


# Lines over the limit


async def test_an_answer_over_the_limit_fails_its_request_alone(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers), hub.open_seat() as one, hub.open_seat() as two:
        send(one, request("x", "a"))
        send(two, request("x", "b"))
        servers.started[0].say(OversizedLine(b'{"jsonrpc":"2.0","id":1,"result":{"x":"', b'"}}', 10**8))
        (answer,) = await receive(one)
        assert answer["id"] == "a"
        assert "a line of 100000000 bytes" in answer["error"]["message"]
        servers.started[0].say(response(2))
        assert await receive(two) == [response("b")]


async def test_any_other_line_over_the_limit_was_somebody_s(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers), hub.open_seat() as one, hub.open_seat() as two:
        servers.started[0].say(OversizedLine(b'{"jsonrpc":"2.0","method":', b'"}}', 10**8))
        for seat in (one, two):
            with pytest.raises(LineTooLong, match="a line of 100000000 bytes"):
                await seat.receive()
        async with hub.open_seat() as three:
            assert three.failure is None
            assert len(servers.started) == 2


# The server's end


async def test_when_the_server_ends_all_hear_of_it_after_what_it_said(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers), hub.open_seat() as one, hub.open_seat() as two:
        send(one, request("x", 1))
        servers.started[0].say(response(1))
        servers.started[0].end(ChildExited("the server exited with status 3", data={"exitStatus": 3, "restarts": 0}))
        await two.wait_exited()
        assert await receive(one) == [response(1)]
        failures = []
        for seat in (one, two):
            with pytest.raises(ChildExited, match="exited with status 3") as caught:
                await seat.receive()
            with pytest.raises(ChildExited, match="exited with status 3"):
                await seat.wait_writable()
            assert not seat.is_congested
            assert seat.failure is caught.value
            failures.append(caught.value)
        assert failures[0].data == failures[1].data == {"exitStatus": 3, "restarts": 0}
        assert failures[0].data is not None
        failures[0].data["restarts"] = 1
        assert failures[1].data == {"exitStatus": 3, "restarts": 0}


async def test_a_seat_taken_afterwards_is_at_another_server(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers), hub.open_seat() as one:
        servers.stop_time = 100
        servers.started[0].end(ChildExited("the server exited with status 3"))
        async with hub.open_seat() as two:
            assert len(servers.started) == 2
            assert one.failure is not None
            send(two, request("initialize", 0, **INITIALIZE))
            assert (await servers.started[1].hear())["id"] == 1
            servers.started[1].say(response(1))
            assert await receive(two) == [response(0)]


async def test_who_waits_for_room_in_its_stdin_hears_of_the_server_s_end(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers), hub.open_seat() as seat:
        send(seat, notification("x", filling="x" * 2_000_000))

        async def wait() -> None:
            with pytest.raises(ChildExited, match="status 3"):
                await seat.wait_writable()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            servers.started[0].end(ChildExited("the server exited with status 3"))


async def test_a_killed_server_is_gone_for_all(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, _), hub.open_seat() as one, hub.open_seat() as two:
        hub.kill()
        assert not hub.is_running
        for seat in (one, two):
            with pytest.raises(ChildExited, match="killed"):
                await seat.receive()
        hub.kill()
        async with hub.open_seat():
            assert hub.is_running


async def test_when_the_hub_ends_all_hear_of_it(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        failed = trio.Event()

        async def sit(hub: Hub) -> None:
            async with hub.open_seat() as seat:
                with pytest.raises(ChildExited, match="stopped"):
                    await seat.receive()
                failed.set()

        async with open_servers() as (hub, servers):
            nursery.start_soon(sit, hub)
            await wait_all_tasks_blocked()
            assert servers.running == 1
        await failed.wait()


# The server's start


async def test_who_comes_while_the_server_is_being_started_waits_for_that(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers):
        servers.start_time = 5
        seated = 0

        async def sit() -> None:
            nonlocal seated
            async with hub.open_seat():
                seated += 1
                await trio.sleep(1)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(sit)
        assert seated == 3
        assert trio.current_time() == 6
        assert len(servers.started) == 1


async def test_a_start_that_its_client_gave_up_is_made_again_for_the_next(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers):
        servers.start_time = 5
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                with trio.move_on_after(3):
                    async with hub.open_seat():
                        raise AssertionError

            nursery.start_soon(give_up)
            await wait_all_tasks_blocked()
            async with hub.open_seat():
                assert trio.current_time() == 8
        assert len(servers.started) == 1


async def test_a_server_that_can_t_be_started_fails_the_seat_and_not_the_hub(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers):
        servers.failure = CommandFailed("no such command")
        for _ in range(2):
            with pytest.raises(CommandFailed, match="no such command"):
                async with hub.open_seat():
                    raise AssertionError
        servers.failure = None
        async with hub.open_seat() as seat:
            assert seat.failure is None


# The last one leaves


async def test_a_server_at_which_nobody_sits_is_kept_for_a_while(autojump_clock: MockClock) -> None:
    async with open_servers(idle_limit=60) as (hub, servers):
        async with hub.open_seat():
            await trio.sleep(100)
        await trio.sleep(59)
        async with hub.open_seat():
            await trio.sleep(100)
        assert len(servers.started) == 1
        await trio.sleep(59.9)
        assert servers.running == 1
        await trio.sleep(0.2)
        assert servers.running == 0
        assert not hub.is_running
        async with hub.open_seat():
            assert len(servers.started) == 2


async def test_without_a_limit_it_is_kept_for_ever(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers):
        async with hub.open_seat():
            pass
        await trio.sleep(86_000)
        assert servers.running == 1


async def test_nobody_comes_at_the_very_moment_at_which_it_ends(autojump_clock: MockClock) -> None:
    async with open_servers(idle_limit=60) as (hub, servers):
        async with hub.open_seat():
            pass
        await trio.sleep(60)
        async with hub.open_seat() as seat:
            await trio.sleep(1)
            assert seat.failure is None
            assert servers.running == 1


async def test_a_server_that_never_answered_the_handshake_is_not_kept(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers):
        async with hub.open_seat() as seat:
            send(seat, request("initialize", 0, **INITIALIZE))
        await wait_all_tasks_blocked()
        assert servers.running == 0


async def test_who_leaves_has_cancelled_its_requests(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers), hub.open_seat() as other:
        (server,) = servers.started
        async with hub.open_seat() as seat:
            send(seat, request("x", 1))
            await server.hear()
        heard = await server.hear()
        assert (heard["method"], heard["params"]["requestId"]) == ("notifications/cancelled", 1)
        server.say(response(1))
        await wait_all_tasks_blocked()
        assert other.unread == 0
        with pytest.raises(ChildExited, match="left"):
            await seat.receive()
        seat.kill()


async def test_a_seat_that_is_given_up_is_not_the_server_s_end(autojump_clock: MockClock) -> None:
    async with open_servers() as (hub, servers), hub.open_seat() as one, hub.open_seat() as two:
        one.kill()
        with pytest.raises(ChildExited):
            await one.receive()
        send(two, request("x", 1))
        servers.started[0].say(response(1))
        assert await receive(two) == [response(1)]


async def test_a_relay_that_fails_takes_its_own_server_along_and_not_the_hub(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(MemoryTransport):
        async def receive(self) -> list[bytes | OversizedLine]:
            await super().receive()
            raise RuntimeError("broken")

    broken: MemoryTransport = Broken()

    @asynccontextmanager
    async def open_broken() -> AsyncIterator[MemoryTransport]:
        async with trio.open_nursery():
            yield broken

    async with open_hub(open_broken) as hub, hub.open_seat() as seat:
        broken.say(b"{}")
        with pytest.raises(ChildExited, match="stopped"):
            await seat.receive()
        await wait_all_tasks_blocked()
        assert "RuntimeError: broken" in caplog.text
        async with hub.open_seat() as other:
            assert other.failure is None


# Real servers


def open_real(*command: str) -> Any:
    return partial(open_child, ChildConfig(command), on_stderr=print, stop_rung=0.5)


async def shake_hands(seat: Seat, **capabilities: Any) -> Any:
    send(seat, request("initialize", 0, **{**INITIALIZE, "capabilities": capabilities}))
    (answer,) = await receive(seat)
    send(seat, INITIALIZED)
    return answer["result"]


async def test_two_clients_share_a_process() -> None:
    async with open_hub(open_real(*PUPPET)) as hub, hub.open_seat() as one, hub.open_seat() as two:
        assert await shake_hands(one) == await shake_hands(two)
        send(one, request("heard", 1))
        send(two, request("heard", 1))
        (first,), (second,) = await receive(one), await receive(two)
        assert first["result"]["pid"] == second["result"]["pid"]
        heard = [json.loads(line) for line in second["result"]["lines"]]
        assert [message["method"] for message in heard] == ["initialize", INITIALIZED["method"], "heard", "heard"]
        assert one.name.startswith("a seat at ")
        assert one.has_spoken
        assert one.queued == 0


async def test_a_process_that_dies_is_replaced_for_those_who_come_again() -> None:
    async with open_hub(open_real(*PUPPET)) as hub:
        async with hub.open_seat() as one, hub.open_seat() as two:
            await shake_hands(one)
            send(one, request("die", 1, status=3))
            for seat in (one, two):
                with pytest.raises(ChildExited, match="status 3") as caught:
                    await seat.receive()
                assert caught.value.data is not None
                assert caught.value.data["stderr"] == ["these are my last words"]
        async with hub.open_seat() as three:
            await shake_hands(three)


async def test_a_killed_process_is_gone_at_once() -> None:
    """One that heeds neither the end of its stdin nor SIGTERM would have ten seconds for each."""
    stubborn = python("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()")
    opening = partial(open_child, ChildConfig(stubborn), on_stderr=print, stop_rung=10)
    async with open_hub(opening) as hub, hub.open_seat() as seat:
        hub.kill()
        with pytest.raises(ChildExited):
            await seat.receive()
        killed_at = trio.current_time()
    assert trio.current_time() - killed_at < 5


async def test_the_demo_asks_whoever_has_called_it() -> None:
    async with open_hub(open_real(*DEMO)) as hub, hub.open_seat() as one, hub.open_seat() as two:
        await shake_hands(one, sampling={}, roots={})
        await shake_hands(two, roots={})
        for asking, idle in ((one, two), (two, one)):
            send(asking, request("tools/call", 1, name="list_roots", arguments={}))
            (question,) = await receive(asking)
            assert question["method"] == "roots/list"
            send(idle, response(question["id"], roots=[{"uri": "file:///forged"}]))
            send(asking, response(question["id"], roots=[{"uri": "file:///mine"}]))
            (answer,) = await receive(asking)
            assert answer["id"] == 1
            assert answer["result"]["content"][0]["text"] == "file:///mine"
            assert idle.unread == 0


async def test_a_modern_process_serves_clients_of_both_eras() -> None:
    async with open_hub(open_real(*MODERN_PUPPET)) as hub, hub.open_seat() as one, hub.open_seat() as two:
        old = Translated(one, LegacyToModern("puppet", lambda: "id", tries_handshake=False))
        old.send_nowait(json.dumps(request("initialize", 1, **INITIALIZE)).encode())
        send(two, modern_request("heard", 1))
        (answer,) = await old.receive()
        assert isinstance(answer, bytes)
        assert json.loads(answer)["result"]["protocolVersion"] == "2025-11-25"
        ((heard),) = await receive(two)
        assert heard["id"] == 1


# Sessions


@asynccontextmanager
async def open_session(seat: Seat, *, is_modern: bool) -> AsyncIterator[Session]:
    """Run a session on a seat, as a proxy does."""
    server = Translated(seat, LegacyToModern("puppet", lambda: "id", tries_handshake=not is_modern))
    session = Session(server, Config(ChildConfig(("server",))))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        yield session
        session.close(ChildExited("the test is over"))


async def post(session: Session, message: Any) -> list[Any]:
    """Return what the stream of one POST carries."""
    stream = await session.submit([parse_line(json.dumps(message).encode())])
    messages: list[Any] = []
    if stream is not None:
        with session.attach(stream) as cursor:
            while not cursor.is_at_end:
                messages += [json.loads(line) for line in (await cursor.read())[1]]
    return messages


@pytest.mark.parametrize("command", [PUPPET, DEMO, MODERN_PUPPET], ids=["puppet", "demo", "modern"])
async def test_two_sessions_at_once_on_one_server(command: tuple[str, ...]) -> None:
    async with (
        open_hub(open_real(*command)) as hub,
        hub.open_seat() as one,
        hub.open_seat() as two,
        open_session(one, is_modern=command is MODERN_PUPPET) as first,
        open_session(two, is_modern=command is MODERN_PUPPET) as second,
    ):
        for session in (first, second):
            (answer,) = await post(session, request("initialize", 0, **INITIALIZE))
            assert answer["result"]["protocolVersion"] == "2025-11-25"
            assert await post(session, INITIALIZED) == []

        async def call(session: Session, text: str) -> None:
            for n in range(20):
                method = "repeat"
                params: dict[str, Any] = {"text": text}
                if command is DEMO:
                    method, params = "tools/call", {"name": "echo", "arguments": {"text": text}}
                (answer,) = await post(session, request(method, n, **params))
                assert answer["id"] == n
                assert text in json.dumps(answer["result"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, first, "one's")
            nursery.start_soon(call, second, "two's")


async def test_sessions_whose_server_dies_go_on_with_the_next_and_share_it_again() -> None:
    async with open_hub(open_real(*PUPPET)) as hub:
        async with hub.open_seat() as one, hub.open_seat() as two, trio.open_nursery() as nursery:
            sessions = [Session(seat, Config(ChildConfig(("server",)))) for seat in (one, two)]
            for session in sessions:
                nursery.start_soon(session.run)
                await post(session, request("initialize", 0, **INITIALIZE))
                await post(session, INITIALIZED)
            (answer,) = await post(sessions[0], request("die", 1, status=3))
            assert answer["error"]["data"]["exitStatus"] == 3
        assert all(session.is_orphaned for session in sessions)
        async with hub.open_seat() as one, hub.open_seat() as two, trio.open_nursery() as nursery:
            pids = set()
            for session, seat in zip(sessions, (one, two), strict=True):
                session.adopt(seat)
                nursery.start_soon(session.run)
                (answer,) = await post(session, request("heard", 2))
                pids.add(answer["result"]["pid"])
            assert len(pids) == 1
            assert [session.restarts for session in sessions] == [1, 1]
            for session in sessions:
                session.close(ChildExited("the test is over"))
