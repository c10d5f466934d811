"""One server for several clients, over HTTP: what they share is the process, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests import modern, wire
from tests.memory_transport import MemoryTransport
from tests.proxies import DEMO, descendants, open_test_proxy, python
from tests.puppet import MODERN_PUPPET, PUPPET, notification, request, saying
from tests.serving import wait_until
from tests.test_soak import SHELL
from trioproxy.auth import AuthRequest, Principal
from trioproxy.config import AuthConfig, ChildConfig, Config, ConfigError, LimitConfig, TimeConfig
from trioproxy.directory import open_directory
from trioproxy.protocol.errors import ChildError
from trioproxy.server import Proxy
from trioproxy.shared_sources import SharedSource, open_source
from trioproxy.sources import OnStderr, Opening, Owned, Server

KEYS = AuthConfig(api_keys=("alice", "bob"))


@asynccontextmanager
async def open_shared(command: tuple[str, ...] = PUPPET, **concerns: Any) -> AsyncIterator[Proxy]:
    # Calls that run at the end are not waited for.
    concerns = {"times": TimeConfig(graceful_shutdown_timeout=0.1), **concerns}
    async with open_test_proxy(command, isolation="shared", **concerns) as proxy:
        await proxy.wait_proven()
        yield proxy


async def heard_by(client: wire.Client, request_id: int = 99) -> Any:
    return (await client.post(request("heard", request_id))).json["result"]


class MadeOfMemory:
    """A source of servers that are no processes."""

    name = "memory"
    spares = 0
    is_proven_first = False

    def has_spare_for(self, principal: Principal | None) -> bool:
        """There are none."""
        return False

    async def prepare(self, request: AuthRequest | None, principal: Principal | None, on_stderr: OnStderr) -> Opening:
        """Return what opens a server."""

        @asynccontextmanager
        async def open_server() -> AsyncIterator[Server]:
            yield Owned(MemoryTransport(), self.name)

        return open_server()


class KeyHolder(wire.Client):
    """A client with a key of its own."""

    key = ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request within the session."""
        return {**super().headers, "x-api-key": self.key}


async def initialize_as(proxy: Proxy, key: str) -> wire.Client:
    """Open a session with a key."""
    client = KeyHolder(proxy.url, "2025-11-25")
    client.key = key
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": key, "version": "1"}}
    body = json.dumps(request("initialize", 0, **params)).encode()
    answer = await wire.request(proxy.url, "POST", {**wire.JSON_HEADERS, "x-api-key": key}, body)
    client.session_id = answer.headers["mcp-session-id"]
    await client.post(notification("notifications/initialized"))
    return client


async def test_all_sessions_have_the_same_process() -> None:
    async with open_shared() as proxy:
        one, two = await wire.initialize(proxy.url), await wire.initialize(proxy.url)
        assert (await heard_by(one))["pid"] == (await heard_by(two))["pid"]
        assert len(descendants(os.getpid())) == 1


async def test_equal_ids_of_two_clients_are_no_matter() -> None:
    async with open_shared() as proxy:
        one, two = await wire.initialize(proxy.url), await wire.initialize(proxy.url)
        async with one.open_post(request("wait", 1)), two.open_post(request("wait", 1)):
            first, second = (
                await one.post(request("repeat", "x", of="one")),
                await two.post(request("repeat", "x", of="two")),
            )
        assert first.json["id"] == second.json["id"] == "x"
        assert json.loads(first.json["result"]["line"])["params"] == {"of": "one"}
        assert json.loads(second.json["result"]["line"])["params"] == {"of": "two"}


async def test_a_question_goes_to_the_only_client_who_has_something_running() -> None:
    question = b'{"jsonrpc":"2.0","id":"q","method":"roots/list"}'
    async with open_shared() as proxy:
        asked = await wire.initialize(proxy.url, capabilities={"roots": {}})
        other = await wire.initialize(proxy.url, capabilities={"roots": {}})
        async with asked.open_post(request("wait", 1)) as call:
            await other.post(saying(question))
            message = await call.next_message()
            assert (message["method"], message["id"]) == ("roots/list", "q")


async def test_a_question_whose_owner_can_not_be_told_is_shown_to_nobody() -> None:
    question = b'{"jsonrpc":"2.0","id":"q","method":"roots/list"}'
    async with open_shared() as proxy:
        one = await wire.initialize(proxy.url, capabilities={"roots": {}})
        two = await wire.initialize(proxy.url, capabilities={"roots": {}})
        async with one.open_post(request("wait", 1)), two.open_post(request("wait", 1)):
            await one.post(saying(question))
            refusals: list[Any] = []
            while not refusals:
                lines = (await heard_by(one))["lines"]
                refusals = [message for message in map(json.loads, lines) if message.get("id") == "q"]
        (refusal,) = refusals
        assert refusal["error"]["code"] == -32601


async def test_when_the_server_dies_every_session_goes_on_with_the_next_one() -> None:
    async with open_shared() as proxy:
        one, two = await wire.initialize(proxy.url), await wire.initialize(proxy.url)
        pid = (await heard_by(one))["pid"]
        await one.post(request("die", 5, status=3))
        after = {(await heard_by(client, 6))["pid"] for client in (one, two)}
        assert len(after) == 1
        assert pid not in after


async def test_modern_clients_share_it_with_legacy_ones() -> None:
    async with open_shared(DEMO) as proxy:
        legacy = await wire.initialize(proxy.url)
        call = modern.tool_call("echo", 1, {"text": "hello"})
        answer = await modern.post(proxy.url, call)
        assert answer.json["result"]["content"][0]["text"] == "hello"
        assert (await legacy.call("echo", 1, text="hi")).messages[-1]["result"]["content"][0]["text"] == "hi"
        assert len(descendants(os.getpid())) == 1


async def test_a_server_of_2026_07_28_is_shared_likewise() -> None:
    async with open_shared(MODERN_PUPPET, upstream_protocol="modern") as proxy:
        one, two = await wire.initialize(proxy.url), await wire.initialize(proxy.url)
        assert (await one.post(request("tools/list", 1))).status == 200
        assert (await two.post(request("tools/list", 1))).status == 200
        assert (await modern.post(proxy.url, modern.request("server/discover", 1))).status == 200
        assert len(descendants(os.getpid())) == 1


async def test_a_command_that_does_not_work_is_the_end_when_it_is_shared_too() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(Exception, match="broken"), flatten_subgroups=True):
        async with open_shared(python("import sys; sys.exit('broken')")):
            await wait_until(lambda: False)


# A server for each principal


async def test_a_principal_has_one_process_for_all_that_it_does_and_shares_it_with_nobody() -> None:
    async with open_test_proxy(PUPPET, isolation="principal", auth=KEYS, child={"spares": 0}) as proxy:
        await proxy.wait_proven()
        alices = [await initialize_as(proxy, "alice") for _ in range(2)]
        bob = await initialize_as(proxy, "bob")
        pids = [(await heard_by(client))["pid"] for client in (*alices, bob)]
        assert pids[0] == pids[1] != pids[2]


async def test_the_server_of_a_principal_who_has_gone_ends_after_a_while() -> None:
    times = TimeConfig(session_idle_timeout=0.3)
    async with open_test_proxy(PUPPET, isolation="principal", auth=KEYS, times=times) as proxy:
        await proxy.wait_proven()
        before = len(descendants(os.getpid()))
        client = await initialize_as(proxy, "alice")
        assert len(descendants(os.getpid())) == before + 1
        await wire.request(client.url, "DELETE", client.headers)
        await wait_until(lambda: len(descendants(os.getpid())) <= before)


async def test_servers_that_wait_for_their_principals_to_come_back_are_not_any_number() -> None:
    """They count as no session, and each is a process."""

    async def authenticate(request: AuthRequest) -> Principal:
        return Principal(request.header("x-api-key") or "nobody")

    auth = AuthConfig(authenticate=authenticate)
    limits = LimitConfig(max_sessions=4)
    async with open_test_proxy(SHELL, isolation="principal", auth=auth, limits=limits, child={"spares": 0}) as proxy:
        await proxy.wait_proven()
        for number in (*range(10), 7, 10, 11):
            client = await initialize_as(proxy, f"principal{number}")
            await wire.request(client.url, "DELETE", client.headers)
            await wait_until(lambda: proxy.sessions == 0)
        await wait_until(lambda: len(descendants(os.getpid())) <= 4 + 1)
        # Those of the last ones are still there, and get their principals back; the fourth has proven the command.
        before = set(descendants(os.getpid()))
        for number in (7, 10, 11):
            await initialize_as(proxy, f"principal{number}")
        assert set(descendants(os.getpid())) <= before


async def test_nothing_is_kept_of_a_thousand_principals_who_have_gone() -> None:
    """Here without processes: a seat is taken and given up for each."""
    config = Config(ChildConfig(("x",)), isolation="principal", auth=KEYS, times=TimeConfig(session_idle_timeout=0.001))
    async with open_source(MadeOfMemory(), config) as source:
        assert isinstance(source, SharedSource)
        for number in range(1000):
            async with await source.prepare(None, Principal(f"principal{number}"), print) as seat:
                assert seat.failure is None
        await trio.sleep(0.05)
        async with await source.prepare(None, Principal("last"), print):
            assert list(source._hubs) == [Principal("last")]
            assert dict(source._claims) == {Principal("last"): 1}
        assert not source._claims


async def test_who_loses_its_seat_has_seen_no_death_of_the_server() -> None:
    """Otherwise one client that does not read could end the proxy, with --exit-on-child-death."""
    transport = MemoryTransport()

    @asynccontextmanager
    async def create_server(request: AuthRequest | None, principal: Principal | None) -> AsyncIterator[MemoryTransport]:
        yield transport

    async with open_directory(Config(create_server=create_server, exit_on_child_death=True)) as directory:
        session = await directory.open()
        transport.end(ChildError("too much waits to be read"))
        await session.wait_ended()
        await wait_until(lambda: not directory.berths)
        assert (directory.deaths.count, directory.state) == (0, "ready")


@pytest.mark.parametrize(
    ("concerns", "complaint"),
    [
        ({"isolation": "shared", "stateless": True}, "--stateless and --isolation shared contradict each other"),
        ({"isolation": "principal"}, "--isolation principal needs a way to come in"),
    ],
)
async def test_what_makes_no_sense_together_is_refused(concerns: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        async with open_test_proxy(PUPPET, **concerns):
            pass
