"""A server of the SDK in our own process is served as a process with this server would be, in every era.

The servers are real ones: one on the low-level class, that knows a scene for everything (`tests.real.sdk_server`), and small
ones on `MCPServer`.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import trio
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.mcpserver import Context, MCPServer
from trio.testing import MockClock, wait_all_tasks_blocked

from trioproxy.config import ChildConfig, Config, ListenConfig
from trioproxy.in_process import MAX_QUEUED, InProcess, open_in_process
from trioproxy.multiplex import Multiplex
from trioproxy.protocol.errors import ChildError, ChildExited
from trioproxy.protocol.legacy_to_modern import LegacyToModern
from trioproxy.protocol.messages import parse_line
from trioproxy.protocol.modern_to_legacy import ModernToLegacy
from trioproxy.protocol.translation import Related
from trioproxy.server import Proxy, open_proxy
from trioproxy.session import Session
from trioproxy.translate import Translated
from trioproxy.transport import Received

from . import modern, wire
from .modern import ASKABLE, SUBSCRIPTION_ID, answer_all, listen, tool_call
from .puppet import notification, request, response
from .real import sdk_server
from .test_multiplex import Talk, read

pytestmark = pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")

SCENES = sdk_server.server
CHANGES = SCENES.create_initialization_options(NotificationOptions(tools_changed=True))
HANDSHAKE_REVISIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]


class Client:
    """Whoever talks to the server, one message at a time."""

    def __init__(self, transport: InProcess) -> None:
        self.transport = transport
        self._received: list[Received] = []

    def send(self, message: Any) -> None:
        self.transport.send_nowait(json.dumps(message).encode())

    async def next_line(self) -> Received:
        """Return the next thing that the server says, as it comes."""
        if not self._received:
            self._received = list(await self.transport.receive())
        return self._received.pop(0)

    async def next(self) -> Any:
        """Return the next message of the server, as a value."""
        line = await self.next_line()
        raw = line.raw if isinstance(line, Related) else line
        assert isinstance(raw, bytes)
        assert b"\n" not in raw
        return json.loads(raw)

    async def ask(self, message: Any) -> Any:
        """Send a request, and return what comes next."""
        self.send(message)
        return await self.next()

    async def shake_hands(self, revision: str = "2025-11-25", **capabilities: Any) -> Any:
        """Do what a client of the handshake era does first; return the server's introduction."""
        params = {"protocolVersion": revision, "capabilities": capabilities, "clientInfo": modern.EXAMPLE_CLIENT}
        answer = await self.ask(request("initialize", 0, **params))
        self.send(notification("notifications/initialized"))
        return answer["result"]


def call(tool: str, request_id: int | str = 1, token: Any = None, **arguments: Any) -> dict[str, Any]:
    """Return a `tools/call` of the handshake era."""
    return request("tools/call", request_id, token, name=tool, arguments=arguments)


def text_of(answer: Any) -> str:
    """Return what a tool has answered."""
    text: str = answer["result"]["content"][0]["text"]
    return text


@asynccontextmanager
async def open_client(server: Any = SCENES, **more: Any) -> AsyncIterator[Client]:
    async with open_in_process(server, **more) as transport:
        yield Client(transport)


@pytest.fixture
def calculator() -> MCPServer:
    server = MCPServer("calculator")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    async def fail(words: str) -> None:
        """Fail."""
        raise RuntimeError(words)

    return server


# What is served


@pytest.mark.parametrize("revision", HANDSHAKE_REVISIONS)
async def test_a_client_of_each_revision_with_a_handshake_is_served(revision: str, calculator: MCPServer) -> None:
    async with open_client(calculator) as client:
        introduction = await client.shake_hands(revision)
        assert (introduction["protocolVersion"], introduction["serverInfo"]["name"]) == (revision, "calculator")
        assert (await client.ask(request("tools/list", "a")))["result"]["tools"][0]["name"] == "add"
        assert text_of(await client.ask(call("add", 2, a=2, b=3))) == "5"


async def test_a_client_of_the_revision_without_a_handshake_is_served(calculator: MCPServer) -> None:
    async with open_client(calculator) as client:
        discovered = await client.ask(modern.request("server/discover", "a"))
        assert discovered["result"]["supportedVersions"] == ["2026-07-28"]
        answer = await client.ask(tool_call("add", 2, {"a": 2, "b": 3}))
        assert (answer["id"], answer["result"]["resultType"], text_of(answer)) == (2, "complete", "5")


async def test_a_low_level_server_is_served_and_says_of_itself_what_it_is_told_to() -> None:
    async with open_client(SCENES) as plain, open_client(SCENES, initialization_options=CHANGES) as changing:
        assert (await plain.shake_hands())["capabilities"]["tools"] == {"listChanged": False}
        assert (await changing.shake_hands())["capabilities"]["tools"] == {"listChanged": True}


async def test_what_holds_a_low_level_server_as_fastmcp_does_is_served(calculator: MCPServer) -> None:
    like_fastmcp = SimpleNamespace(name="calculator", _mcp_server=calculator._lowlevel_server)
    async with open_client(like_fastmcp) as client:
        assert (await client.shake_hands())["serverInfo"]["name"] == "calculator"


@pytest.mark.parametrize("thing", [None, "server", object(), Server, MCPServer, ["python", "server.py"]])
async def test_what_is_no_server_is_refused_at_once(thing: Any) -> None:
    with pytest.raises(TypeError, match="expected a Server or an MCPServer"):
        async with open_in_process(thing):
            raise AssertionError("opened")


# Messages from the server


async def test_progress_comes_before_the_answer_under_the_token_of_its_request() -> None:
    async with open_client() as client:
        await client.shake_hands()
        client.send(call("count", 1, "token", to=2))
        steps = [await client.next() for _ in range(2)]
        assert [(s["params"]["progressToken"], s["params"]["progress"]) for s in steps] == [("token", 1), ("token", 2)]
        assert text_of(await client.next()) == "counted to 2"


async def test_a_question_says_whose_it_is_while_several_requests_run() -> None:
    """On a request's stream, messages "SHOULD relate to the originating client request" (2025-11-25, Transports)."""
    async with open_client() as client:
        await client.shake_hands(elicitation={})
        questions = {}
        for request_id in ("one", "two"):
            client.send(call("ask", request_id, question=f"{request_id}?"))
        for _ in range(2):
            line = await client.next_line()
            assert isinstance(line, Related)
            questions[line.request_id] = json.loads(line.raw)
        assert {name: q["params"]["message"] for name, q in questions.items()} == {"one": "one?", "two": "two?"}
        answer = await client.ask(response(questions["two"]["id"], action="accept", content={"answer": "yes"}))
        assert (answer["id"], text_of(answer)) == ("two", "accept: yes")
        answer = await client.ask(response(questions["one"]["id"], action="decline"))
        assert (answer["id"], text_of(answer)) == ("one", "decline: None")


async def test_a_log_message_says_which_request_it_belongs_to() -> None:
    async with open_client() as client:
        await client.shake_hands()
        client.send(call("log", 7, lines=1))
        line = await client.next_line()
        assert isinstance(line, Related)
        assert (line.request_id, json.loads(line.raw)["params"]["data"]) == (7, {"line": 0})
        assert text_of(await client.next()) == "logged 1 lines"


async def test_what_the_server_says_to_nobody_in_particular_comes_as_it_is() -> None:
    async with open_client(initialization_options=CHANGES) as client:
        await client.shake_hands()
        client.send(call("reveal"))
        line = await client.next_line()
        assert isinstance(line, bytes)
        assert json.loads(line)["method"] == "notifications/tools/list_changed"


async def test_a_modern_call_gets_its_questions_as_a_result() -> None:
    async with open_client() as client:
        first = tool_call("ask", 1, {"question": "Well?"}, capabilities=ASKABLE)
        asked = (await client.ask(first))["result"]
        assert (asked["resultType"], asked["inputRequests"]["it"]["method"]) == ("input_required", "elicitation/create")
        yes = {"action": "accept", "content": {"answer": "yes"}}
        client.send({**first, "id": 2, "params": {**first["params"], "inputResponses": {"it": yes}}})
        assert text_of(await client.next()) == "accept: yes"


async def test_a_subscription_gets_what_it_asked_for_under_its_own_id() -> None:
    async with open_client() as client:
        client.send(listen("mine", toolsListChanged=True))
        line = await client.next_line()
        # Its id says whose it is, and whoever has to replace that must find it in the message.
        assert isinstance(line, bytes)
        assert json.loads(line)["method"] == "notifications/subscriptions/acknowledged"
        client.send(tool_call("reveal", 2))
        said = {m.get("method"): m for m in [await client.next(), await client.next()]}
        changed = said["notifications/tools/list_changed"]
        assert changed["params"]["_meta"][SUBSCRIPTION_ID] == "mine"


# Errors


async def test_a_tool_that_fails_fails_alone(calculator: MCPServer) -> None:
    async with open_client(calculator) as client:
        await client.shake_hands()
        failed = await client.ask(call("fail", 1, words="broken"))
        assert failed["result"]["isError"] is True
        assert text_of(await client.ask(call("add", 2, a=1, b=1))) == "2"


async def test_an_error_of_the_servers_own_comes_with_its_code_and_its_data() -> None:
    async with open_client() as client:
        await client.shake_hands()
        answer = await client.ask(call("fail"))
        assert answer["error"] == {"code": 4242, "message": "failed as asked", "data": {"evidence": ["π", None, 1e100]}}


@pytest.mark.parametrize("shake", [True, False], ids=["legacy", "modern"])
async def test_a_handler_that_crashes_is_answered_for(shake: bool) -> None:
    async def on_call_tool(context: Any, params: Any) -> Any:
        raise ZeroDivisionError("by zero")

    async with open_client(Server("crashing", on_call_tool=on_call_tool)) as client:
        if shake:
            await client.shake_hands()
        for number in (1, 2):
            answer = await client.ask(call("any", number) if shake else tool_call("any", number))
            assert (answer["id"], "error" in answer) == (number, True)


async def test_a_request_that_the_sdk_cannot_read_is_refused_and_not_left_waiting() -> None:
    """The SDK's stdio drops what it can't read, and it reads no lone surrogate, which JSON has and Python's `json` too."""
    async with open_client() as client:
        await client.shake_hands()
        client.transport.send_nowait(b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"\\ud83d"}}')
        refused = await client.next()
        assert (refused["id"], refused["error"]["code"]) == (9, -32600)
        assert "can't read the request" in refused["error"]["message"]
        # Nobody waits for the answer to these.
        client.transport.send_nowait(b'{"jsonrpc":"2.0","method":"notifications/x","params":{"name":"\\ud83d"}}')
        client.transport.send_nowait(b"no JSON at all")
        assert (await client.ask(request("ping", 10)))["id"] == 10


async def test_a_message_over_the_limit_is_an_error_to_the_call_that_sends_it() -> None:
    async with open_client(max_message_size=10_000) as client:
        await client.shake_hands()
        answer = await client.ask(call("big", 1, size=20_000))
        assert answer["error"]["code"] == -32603
        assert "the limit is 10000" in answer["error"]["message"]
        assert len(text_of(await client.ask(call("big", 2, size=8_000)))) == 8_000


# Cancellation


async def test_a_cancelled_call_is_cancelled_where_it_runs() -> None:
    async with open_client() as client:
        await client.shake_hands()
        client.send(call("wait_for_cancellation", 1, "t", name="in-process"))
        assert (await client.next())["params"]["message"] == "waiting"
        client.send(notification("notifications/cancelled", requestId=1))
        assert text_of(await client.ask(call("was_cancelled", 2, name="in-process"))) == "in-process was cancelled"


async def test_leaving_the_block_cancels_what_runs() -> None:
    async with open_client() as client:
        await client.shake_hands()
        client.send(call("wait_for_cancellation", 1, "t", name="left"))
        assert (await client.next())["params"]["message"] == "waiting"
    await sdk_server.cancelled["left"].wait()


async def test_a_receive_that_is_cancelled_loses_nothing() -> None:
    async with open_client() as client:
        await client.shake_hands()
        for n in range(30):
            client.send(request("ping", n))
            answer: Any = None
            while answer is None:
                with trio.move_on_after(0.0001):
                    answer = await client.next()
            assert answer["id"] == n


async def test_a_function_that_blocks_in_its_thread_holds_nothing_up_but_the_end() -> None:
    server, go_on = MCPServer("blocking"), threading.Event()

    @server.tool()
    def block() -> str:
        go_on.wait(20)
        return "at last"

    @server.tool()
    async def pass_by() -> str:
        return "passed"

    async with open_client(server) as client:
        await client.shake_hands()
        client.send(call("block", 1))
        assert text_of(await client.ask(call("pass_by", 2))) == "passed"
        go_on.set()
        assert text_of(await client.next()) == "at last"


# The life of a server


class Life:
    """A server whose lifespan is recorded, and made to fail."""

    def __init__(self, *, at_start: Exception | None = None, at_end: Exception | None = None, end_takes: float = 0) -> None:
        self.events: list[str] = []
        self.may_start = trio.Event()
        self.may_start.set()
        numbers = itertools.count(1)

        @asynccontextmanager
        async def lifespan(server: Any) -> AsyncIterator[str]:
            await self.may_start.wait()
            name = f"run {next(numbers)}"
            if at_start is not None:
                raise at_start
            self.events.append(f"{name} began")
            try:
                yield name
            finally:
                # What a database connection does when it is closed.
                await anyio.sleep(end_takes)
                if at_end is not None:
                    raise at_end
                self.events.append(f"{name} ended")

        self.server = MCPServer("alive", lifespan=lifespan)

        @self.server.tool()
        async def whose(context: Context[Any]) -> str:
            return str(context.request_context.lifespan_context)

        @self.server.tool()
        async def leave() -> None:
            raise SystemExit("enough")

        @self.server.tool()
        async def flood(context: Context[Any]) -> None:
            for number in itertools.count(1):
                self.events.append(f"step {number}")
                await context.report_progress(number, None, "x" * 100_000)


async def test_each_block_is_a_run_of_its_own_and_ends_in_order() -> None:
    life = Life(end_takes=0.01)
    async with open_client(life.server) as one, open_client(life.server) as two:
        await one.shake_hands()
        await two.shake_hands()
        assert {text_of(await client.ask(call("whose"))) for client in (one, two)} == {"run 1", "run 2"}
    assert sorted(life.events) == ["run 1 began", "run 1 ended", "run 2 began", "run 2 ended"]


async def test_a_server_leaves_its_lifespan_in_order_when_everything_is_cancelled() -> None:
    life = Life(end_takes=0.01)
    with trio.CancelScope() as scope:
        async with open_client(life.server) as client:
            await client.shake_hands()
            scope.cancel()
            await trio.sleep_forever()
    assert life.events == ["run 1 began", "run 1 ended"]


async def test_a_server_that_does_not_end_is_cancelled(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    life = Life(end_takes=1000)
    async with open_client(life.server) as client:
        await client.shake_hands()
        left_at = trio.current_time()
    assert trio.current_time() - left_at == 2
    assert life.events == ["run 1 began"]
    assert "had not ended in time" in caplog.text
    assert str(client.transport.failure) == "the server was stopped"


async def test_a_server_that_cannot_start_says_why_and_takes_nobody_along(caplog: pytest.LogCaptureFixture) -> None:
    healthy, broken = Life(), Life(at_start=RuntimeError("no\ndatabase"))
    async with open_client(healthy.server) as client, open_client(broken.server) as other:
        await client.shake_hands()
        for _ in range(2):
            with pytest.raises(ChildError, match=r"^the server failed: RuntimeError: no database$") as raised:
                await other.shake_hands()
            assert raised.value is other.transport.failure
        assert raised.value.data == {"stderr": ["RuntimeError: no database"], "restarts": 0}
        assert text_of(await client.ask(call("whose"))) == "run 1"
    (record,) = (r for r in caplog.records if r.name == "trioproxy.in_process")
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


async def test_a_server_that_fails_at_its_end_does_not_fail_the_block() -> None:
    life = Life(at_end=OSError("disk full"))
    async with open_client(life.server) as client:
        await client.shake_hands()
    assert str(client.transport.failure) == "the server failed: OSError: disk full"


async def test_a_server_that_exits_ends_itself_and_not_us() -> None:
    """`sys.exit` in a tool ends a stdio server's process."""
    life, other = Life(), Life()
    async with open_client(life.server) as client, open_client(other.server) as beside:
        await client.shake_hands()
        client.send(call("leave"))
        with pytest.raises(ChildExited, match="SystemExit: enough"):
            await client.next()
        client.send(request("ping", 2))
        with pytest.raises(ChildExited, match="SystemExit: enough"):
            await client.transport.wait_writable()
        assert (await beside.shake_hands())["serverInfo"]["name"] == "alive"
    assert life.events == ["run 1 began", "run 1 ended"]


async def test_our_own_interruption_is_no_failure_of_the_servers() -> None:
    async def on_call_tool(context: Any, params: Any) -> Any:
        raise KeyboardInterrupt

    async def be_interrupted() -> None:
        async with open_client(Server("interrupted", on_call_tool=on_call_tool)) as client:
            await client.shake_hands()
            client.send(call("any"))
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as raised:
        await be_interrupted()
    assert raised.group_contains(KeyboardInterrupt)


# Bounds


async def test_senders_wait_while_the_server_takes_nothing() -> None:
    life = Life()
    life.may_start = trio.Event()
    async with open_client(life.server) as client:
        large = request("ping", 1, filling="x" * (MAX_QUEUED // 2))
        for _ in range(2):
            assert not client.transport.is_congested
            client.send(large)
        assert client.transport.is_congested
        with trio.move_on_after(0.05) as impatient:
            await client.transport.wait_writable()
        assert impatient.cancelled_caught
        life.may_start.set()
        await client.transport.wait_writable()
        assert not client.transport.is_congested


async def test_who_waits_for_a_server_that_cannot_start_is_told() -> None:
    life = Life(at_start=RuntimeError("no database"))
    life.may_start = trio.Event()
    async with open_client(life.server) as client, trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(ChildError, match="no database"):
                await client.transport.wait_writable()

        client.send(request("ping", 1, filling="x" * 2 * MAX_QUEUED))
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        life.may_start.set()


async def test_a_server_waits_while_nobody_receives(autojump_clock: MockClock) -> None:
    life = Life()
    async with open_client(life.server) as client:
        await client.shake_hands()
        client.send(call("flood", 1, "t"))
        await wait_all_tasks_blocked()
        steps = len(life.events)
        assert MAX_QUEUED / 100_000 < steps < MAX_QUEUED / 100_000 + 5
        assert len(await client.transport.receive()) > 5
        await wait_all_tasks_blocked()
        assert len(life.events) > steps
        left_at = trio.current_time()
    # The flood did not hold up the end.
    assert trio.current_time() == left_at
    assert life.events[-1] == "run 1 ended"


# Behind what stands behind a URL


@asynccontextmanager
async def open_session(*, translated: bool) -> AsyncIterator[Session]:
    """Run a session over the scenes; translated, the server is spoken to in the other era."""
    async with open_in_process(SCENES, initialization_options=CHANGES) as transport, trio.open_nursery() as nursery:
        states = map(str, itertools.count())
        other_era = Translated(transport, LegacyToModern("scenes", lambda: next(states), tries_handshake=False))
        session = Session(other_era if translated else transport, Config(ChildConfig(("server",))))
        nursery.start_soon(session.run)
        yield session
        session.close(ChildExited("the test is over"))


async def submit(session: Session, message: Any) -> Any:
    """Send a message, and return the stream of its answer."""
    return await session.submit([parse_line(json.dumps(message).encode())])


@pytest.mark.parametrize("translated", [False, True], ids=["legacy", "translated"])
async def test_a_session_puts_each_question_on_the_stream_of_its_call(translated: bool) -> None:
    async with open_session(translated=translated) as session:
        params = {"protocolVersion": "2025-11-25", "capabilities": ASKABLE, "clientInfo": modern.EXAMPLE_CLIENT}
        opening = await submit(session, request("initialize", 0, **params))
        with session.attach(opening) as cursor:
            _, (introduction,) = await cursor.read()
            assert json.loads(introduction)["result"]["protocolVersion"] == "2025-11-25"
        await submit(session, notification("notifications/initialized"))
        names = ("one", "two")
        streams = {name: await submit(session, call("ask", name, question=name)) for name in names}
        for name, stream in streams.items():
            with session.attach(stream) as cursor:
                _, (question,) = await cursor.read()
                assert json.loads(question)["params"]["message"] == name
                answer = response(json.loads(question)["id"], action="accept", content={"answer": name})
                await submit(session, answer)
                _, (answered,) = await cursor.read()
                assert text_of(json.loads(answered)) == f"accept: {name}"
                assert stream.is_finished


@pytest.mark.parametrize("translated", [False, True], ids=["modern", "translated"])
async def test_modern_requests_share_a_server_and_get_their_own(translated: bool) -> None:
    async with open_in_process(SCENES) as transport, trio.open_nursery() as nursery:
        states = (f"state {number}" for number in itertools.count())
        multiplex = Multiplex(Translated(transport, ModernToLegacy(lambda: next(states))) if translated else transport)
        nursery.start_soon(multiplex.run)
        talk = Talk(multiplex, None, Config(ChildConfig(("server",))))  # type: ignore[arg-type]
        first = tool_call("ask", 1, {"question": "Well?"}, capabilities=ASKABLE)
        with talk.call(first) as asking, talk.call(tool_call("count", 1, {"to": 1}, token="t")) as counting:
            step, counted = await read(counting)
            assert (step["params"]["progressToken"], text_of(counted)) == ("t", "counted to 1")
            (asked,) = await read(asking)
        (name,) = asked["result"]["inputRequests"]
        yes = {"action": "accept", "content": {"answer": "yes"}}
        again = answer_all(first, {"requestState": None, **asked["result"]}, 2, yes)
        if not translated:
            # Who keeps no state of a call sends none back.
            del again["params"]["requestState"]
        again["params"]["inputResponses"] = {name: yes}
        with talk.call(again) as answering:
            (answered,) = await read(answering)
        assert text_of(answered) == "accept: yes"
        multiplex.close(ChildExited("the test is over"))


# Over HTTP

INITIALIZE = request("initialize", 1, protocolVersion="2025-11-25", capabilities={}, clientInfo=modern.EXAMPLE_CLIENT)


def serving(server: MCPServer) -> AbstractAsyncContextManager[Proxy]:
    """Run a proxy whose sessions each have a run of `server`."""
    return open_proxy(Config(create_server=lambda request, principal: open_in_process(server), listen=ListenConfig(port=0)))


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_why_a_server_cannot_start_is_the_answer_to_who_wants_to_use_it(era: str) -> None:
    async with serving(Life(at_start=RuntimeError("no database")).server) as proxy:
        if era == "legacy":
            answer = await wire.request(proxy.url, "POST", wire.JSON_HEADERS, json.dumps(INITIALIZE).encode())
            (message,) = answer.messages
        else:
            message = (await modern.post(proxy.url, tool_call("whose", 1))).json
        assert (message["id"], message["error"]["message"]) == (1, "the server failed: RuntimeError: no database")
        assert message["error"]["data"]["stderr"] == ["RuntimeError: no database"]


async def test_a_session_whose_server_has_exited_goes_on_with_a_new_run_of_it() -> None:
    life = Life()
    async with serving(life.server) as proxy:
        client = await wire.initialize(proxy.url)
        assert text_of((await client.call("whose")).json) == "run 1"
        assert (await client.call("leave")).json["error"]["message"] == "the server failed: SystemExit: enough"
        assert text_of((await client.call("whose")).json) == "run 2"
    assert life.events == ["run 1 began", "run 1 ended", "run 2 began", "run 2 ended"]
