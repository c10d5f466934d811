"""The bridge as a process that a host starts: a stdio server made of servers at URLs.

Hosts are the client of the `mcp` SDK over its own stdio transport, and a test that writes lines; remotes are proxies of our
own in front of the demo, which speak every revision, and a stub for what those never do.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
import trio
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.session import ClientRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from trioproxy.bridge import BridgeConfig, name_remotes, serve_stdio_many
from trioproxy.config import ChildConfig, Config, ConfigError, ListenConfig
from trioproxy.remote.settings import RemoteConfig
from trioproxy.server import open_proxy

from .proxies import DEMO, open_test_proxy
from .puppet import notification, request
from .real.sdk_ways import call, sdk_warnings
from .stub_http import Asked, Reply, open_stub

pytestmark = sdk_warnings

PROGRAM = """
import json, sys, trio
from pathlib import Path
from trioproxy import logs
from trioproxy.bridge import BridgeConfig, serve_stdio
from trioproxy.config import ChildConfig, LogConfig
from trioproxy.protocol.errors import TrioproxyError
from trioproxy.remote.settings import RemoteConfig

logs.set_up(LogConfig())
servers = {
    name: ChildConfig(tuple(settings["argv"])) if "argv" in settings else RemoteConfig(**settings)
    for name, settings in json.loads(sys.argv[1]).items()
}
try:
    trio.run(serve_stdio, BridgeConfig(servers, tap=Path(sys.argv[2]) if sys.argv[2:] else None))
except* TrioproxyError as end:
    while isinstance(end, BaseExceptionGroup):
        end = end.exceptions[0]
    sys.exit(str(end))
"""


def command(**remotes: dict[str, Any]) -> list[str]:
    """Return a command that is a stdio server made of `remotes`: the fields of RemoteConfig, by name; or an argv."""
    return [sys.executable, "-W", "error", "-c", PROGRAM, json.dumps(remotes)]


def host(mode: str, /, remotes: dict[str, dict[str, Any]], **callbacks: Any) -> Client:
    """Return a host on the SDK, connected for as long as it is entered."""
    program, *arguments = command(**remotes)
    parameters = StdioServerParameters(command=program, args=arguments)
    return Client(stdio_client(parameters), mode=mode, log_level="debug", **callbacks)


# Eras: the host's, the remote's, and the remote's transport.

MODES = ["legacy", "auto"]
every_cell = pytest.mark.parametrize(
    ("mode", "transport", "protocol"),
    [
        *((mode, "mcp", protocol) for mode in MODES for protocol in ("auto", "legacy", "modern")),
        *((mode, "sse", protocol) for mode in MODES for protocol in ("auto", "legacy")),
    ],
)


@every_cell
async def test_a_host_is_served_whatever_its_era_and_that_of_the_remote(mode: str, transport: str, protocol: str) -> None:
    heard: list[float] = []
    send, logged = trio.open_memory_channel[types.LoggingMessageNotificationParams](1)

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async def on_elicit(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async with open_test_proxy() as proxy:
        url = proxy.urls[0 if transport == "mcp" else 1]
        remotes = {"demo": {"url": url, "protocol": protocol}}
        async with host(mode, remotes, elicitation_callback=on_elicit, logging_callback=send.send) as client:
            assert (client.protocol_version in MODERN_PROTOCOL_VERSIONS) == (mode == "auto")
            assert client.server_info is not None
            assert client.server_info.name == "trioproxy-demo"
            assert await call(client, "echo", text="hello") == "hello"
            await client.call_tool("count", {"to": 3, "delay_ms": 1}, progress_callback=on_progress)
            assert heard == [1, 2, 3]
            assert await call(client, "ask_name") == "Hello, Ada!"
            if mode == "legacy":
                await client.set_logging_level("debug")
            await call(client, "log", text="ünï", level="warning")
            assert (await logged.receive()).data == "ünï"


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_is_given_up_is_cancelled_at_the_remote_and_others_go_on(mode: str) -> None:
    async with open_test_proxy() as proxy, host(mode, {"demo": {"url": proxy.url}}) as client:
        with trio.CancelScope() as given_up:

            async def on_progress(progress: float, total: float | None, message: str | None) -> None:
                given_up.cancel()

            await client.call_tool("count", {"to": 360_000, "delay_ms": 10}, progress_callback=on_progress)
        assert given_up.cancelled_caught
        assert await call(client, "echo", text="still here") == "still here"


@pytest.mark.parametrize("mode", MODES)
async def test_several_remotes_are_one_server(mode: str, free_port: int) -> None:
    """Of which one can't be reached; that is harmless."""
    async with open_test_proxy() as one, open_test_proxy() as two:
        dead = {"url": f"http://127.0.0.1:{free_port}/mcp", "connection_timeout": 0.2}
        remotes: dict[str, dict[str, Any]] = {
            "one": {"url": one.url},
            "two": {"url": two.url, "protocol": "modern"},
            "dead": dead,
        }
        async with host(mode, remotes) as client:
            assert client.server_info is not None
            assert client.server_info.name == "trioproxy"
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert {"one__add", "two__add"} <= set(names)
            for name in ("one__echo", "two__echo"):
                assert await call(client, name, text=name) == name
            [greeting] = (await client.read_resource("demo://greeting")).contents
            assert isinstance(greeting, types.TextResourceContents)


async def test_a_remote_that_comes_later_joins_the_others(free_port: int) -> None:
    late = {"url": f"http://127.0.0.1:{free_port}/mcp", "connection_timeout": 0.2}
    async with open_test_proxy() as proxy:
        with started(here={"url": proxy.url}, late=late) as bridge:
            answer = await bridge.shake_hands()
            assert answer["result"]["capabilities"]["tools"] == {"listChanged": True}
            bridge.say(request("tools/list", 1))
            assert "echo" in [tool["name"] for tool in (await bridge.hear())["result"]["tools"]]
            async with open_late_proxy(free_port):
                while (await bridge.hear()).get("method") != "notifications/tools/list_changed":
                    pass
                bridge.say(request("tools/list", 2))
                while (answer := await bridge.hear()).get("id") != 2:
                    pass
                assert {"here__echo", "late__echo"} <= {tool["name"] for tool in answer["result"]["tools"]}
                # A name that it was told before, the host may still use.
                bridge.say(request("tools/call", 3, name="echo", arguments={"text": "hello"}))
                assert (await bridge.hear())["result"]["content"][0]["text"] == "hello"
                bridge.process.send_signal(signal.SIGTERM)
                assert await bridge.wait() == 0


# The process.


class Bridge:
    """A bridge that a test writes lines to."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def say(self, *messages: Any) -> None:
        assert self.process.stdin is not None
        for message in messages:
            raw = message if isinstance(message, bytes) else json.dumps(message).encode()
            self.process.stdin.write(raw + b"\n")
        self.process.stdin.flush()

    async def hear(self) -> Any:
        assert self.process.stdout is not None
        line = await trio.to_thread.run_sync(self.process.stdout.readline)
        assert line, self.process.stderr and self.process.stderr.read()
        return json.loads(line)

    async def shake_hands(self) -> Any:
        self.say(INITIALIZE)
        answer = await self.hear()
        assert answer["id"] == 0
        self.say(notification("notifications/initialized"))
        return answer

    async def wait(self) -> int:
        with trio.fail_after(10):
            return await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)


INITIALIZE = request(
    "initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "host", "version": "1"}
)


@contextmanager
def started(tap: Path | None = None, /, **remotes: dict[str, Any]) -> Iterator[Bridge]:
    pipe = subprocess.PIPE
    argv = [*command(**remotes), *([] if tap is None else [str(tap)])]
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield Bridge(process)
        finally:
            process.kill()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110  what is waited for happens in another process
            await trio.sleep(0.01)


async def test_the_end_of_stdin_ends_the_session_at_the_remote_and_the_bridge() -> None:
    async with open_test_proxy() as proxy:
        with started(demo={"url": proxy.url}) as bridge:
            await bridge.shake_hands()
            assert proxy.sessions == 1
            assert bridge.process.stdin is not None
            bridge.process.stdin.close()
            assert await bridge.wait() == 0
            await until(lambda: proxy.sessions == 0)
            assert bridge.process.stdout is not None
            assert bridge.process.stdout.read() == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_so_does_a_signal_even_while_a_call_runs(number: signal.Signals) -> None:
    async with open_test_proxy() as proxy:
        with started(demo={"url": proxy.url}) as bridge:
            await bridge.shake_hands()
            bridge.say(request("tools/call", 1, token="t", name="count", arguments={"to": 1000, "delay_ms": 1000}))
            assert (await bridge.hear())["method"] == "notifications/progress"
            bridge.process.send_signal(number)
            assert await bridge.wait() == 0
            await until(lambda: proxy.sessions == 0)


async def test_what_is_in_flight_when_stdin_ends_may_still_be_answered() -> None:
    """A script that pipes in what it wants to ask, all at once."""
    async with open_test_proxy() as proxy:
        with started(demo={"url": proxy.url}) as bridge:
            await bridge.shake_hands()
            count = request("tools/call", 1, name="count", arguments={"to": 5, "delay_ms": 20})
            bridge.say(count, request("ping", 2))
            assert bridge.process.stdin is not None
            bridge.process.stdin.close()
            assert {(await bridge.hear())["id"] for _ in range(2)} == {1, 2}
            assert await bridge.wait() == 0


async def test_stdout_carries_nothing_but_messages() -> None:
    async with open_test_proxy() as proxy:
        with started(demo={"url": proxy.url}) as bridge:
            bridge.say(b"hello", b'{"jsonrpc":"1.0"}')
            assert [(await bridge.hear())["error"]["code"] for _ in range(2)] == [-32700, -32600]
            await bridge.shake_hands()
            bridge.process.send_signal(signal.SIGTERM)
            _, said = await trio.to_thread.run_sync(bridge.process.communicate)
            assert b"SIGTERM: ending" in said


async def test_what_the_host_says_and_hears_is_recorded(tmp_path: Path) -> None:
    async with open_test_proxy() as proxy:
        with started(tmp_path / "tap", demo={"url": proxy.url}) as bridge:
            await bridge.shake_hands()
            bridge.say(request("ping", 1))
            await bridge.hear()
            bridge.process.send_signal(signal.SIGTERM)
            assert await bridge.wait() == 0
    recorded = [json.loads(line) for line in (tmp_path / "tap").read_text().splitlines()]
    assert [(entry["direction"], entry["message"].get("method")) for entry in recorded] == [
        ("client-to-server", "initialize"),
        ("server-to-client", None),
        ("client-to-server", "notifications/initialized"),
        ("client-to-server", "ping"),
        ("server-to-client", None),
    ]


async def test_a_command_that_can_not_be_run_is_missing_among_several_and_nothing_else() -> None:
    with started(broken={"argv": ["/no/such/command"]}, demo={"argv": DEMO}) as bridge:
        await bridge.shake_hands()
        bridge.say(request("tools/list", 1))
        assert "echo" in {tool["name"] for tool in (await bridge.hear())["result"]["tools"]}
        bridge.process.send_signal(signal.SIGTERM)
        assert await bridge.wait() == 0
        assert bridge.process.stderr is not None
        assert b"broken: command not found: '/no/such/command' does not exist" in bridge.process.stderr.read()


async def test_commands_are_servers_as_well_and_one_that_is_missing_is_said() -> None:
    async with open_test_proxy() as proxy:
        with started(command={"argv": DEMO}, url={"url": proxy.url}) as bridge:
            await bridge.shake_hands()
            bridge.say(request("tools/list", 1))
            names = {tool["name"] for tool in (await bridge.hear())["result"]["tools"]}
            assert {"command__echo", "url__echo"} <= names
    with started(command={"argv": ["/no/such/command"]}) as bridge:
        assert await bridge.wait() == 1
        assert bridge.process.stderr is not None
        assert b"/no/such/command" in bridge.process.stderr.read()


async def test_when_the_only_command_ends_so_does_the_bridge_and_says_how() -> None:
    with started(command={"argv": [sys.executable, "-c", "import sys; input(); sys.exit(3)"]}) as bridge:
        bridge.say(INITIALIZE)
        assert "exited with status 3" in (await bridge.hear())["error"]["message"]
        assert await bridge.wait() == 1
        assert bridge.process.stderr is not None
        assert b"exited with status 3" in bridge.process.stderr.read()


async def test_a_host_that_reads_no_more_ends_the_bridge() -> None:
    async with open_test_proxy() as proxy:
        with started(demo={"url": proxy.url}) as bridge:
            await bridge.shake_hands()
            assert bridge.process.stdout is not None
            bridge.process.stdout.close()
            bridge.say(request("ping", 1))
            assert await bridge.wait() == 0
            await until(lambda: proxy.sessions == 0)


async def test_a_remote_that_is_down_is_an_error_and_one_that_comes_later_is_served(free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}/mcp"
    with started(demo={"url": url, "connection_timeout": 0.2}) as bridge:
        bridge.say(INITIALIZE)
        refused = await bridge.hear()
        assert (refused["id"], refused["error"]["code"]) == (0, -32603)
        async with open_late_proxy(free_port):
            answer = await bridge.shake_hands()
            assert answer["result"]["serverInfo"]["name"] == "trioproxy-demo"
        assert bridge.process.poll() is None


@asynccontextmanager
async def open_late_proxy(port: int) -> AsyncIterator[None]:
    async with open_proxy(Config(ChildConfig(DEMO), listen=ListenConfig(port=port))):
        yield


async def answer_as_a_server(asked: Asked) -> Reply:
    """Answer `initialize`, and nothing that comes after."""
    message = json.loads(asked.body) if asked.body else {}
    if asked.method == "DELETE":
        await trio.sleep_forever()
    if message.get("method") != "initialize":
        return Reply(status=405 if asked.method == "GET" else 202)
    result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "stub", "version": "1"}}
    answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
    return Reply(answer, headers={"content-type": "application/json", "mcp-session-id": "s"})


async def test_a_second_signal_ends_by_force() -> None:
    """The remote takes its time over the end of the session."""
    async with open_stub(answer_as_a_server) as stub:
        with started(demo={"url": stub.url}) as bridge:
            await bridge.shake_hands()
            bridge.process.send_signal(signal.SIGTERM)
            await until(lambda: any(asked.method == "DELETE" for asked in stub.asked) or bridge.process.poll() is not None)
            bridge.process.send_signal(signal.SIGTERM)
            assert await bridge.wait() == 1
            assert bridge.process.stderr is not None
            assert b"stopped by force" in bridge.process.stderr.read()


# What it is told.


def test_remotes_are_named_by_their_hosts() -> None:
    urls = ["https://example.com/mcp", "https://example.com:8443/mcp", "http://127.0.0.1/mcp", "https://example.com/x"]
    named = name_remotes(urls, taken={"example.com"})
    assert list(named) == ["example.com-2", "example.com-3", "127.0.0.1", "example.com-4"]
    assert named["127.0.0.1"] == RemoteConfig("http://127.0.0.1/mcp")


def test_a_bridge_needs_somewhere_to_lead_to() -> None:
    with pytest.raises(ConfigError, match="no URL"):
        BridgeConfig({})


async def test_many_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="no URL"):
        await serve_stdio_many([])
