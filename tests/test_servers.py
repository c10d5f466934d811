"""Several servers behind one port: each at its own path, and none in the way of the others."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import trio
import trio.testing

from tests import modern, wire
from tests.proxies import DEMO, descendants, open_test_proxy, python
from tests.puppet import MODERN_PUPPET, PUPPET, request
from tests.serving import ask, wait_until
from trioproxy import hooks
from trioproxy import servers as servers_module
from trioproxy.auth import AuthRequest, HttpError, Principal
from trioproxy.child import open_child
from trioproxy.config import AuthConfig, ChildConfig, Config, ConfigError, ListenConfig, TimeConfig
from trioproxy.hooks import SessionInfo
from trioproxy.protocol.errors import AuthenticationError, CommandFailed, KeyFileError
from trioproxy.remote.settings import RemoteConfig
from trioproxy.server import Proxy, open_proxy
from trioproxy.server_file import ServerFile

BROKEN = python("import sys; sys.exit('this is broken')")


@asynccontextmanager
async def serve(**concerns: Any) -> AsyncIterator[Proxy]:
    """Run a proxy without a default server."""
    async with open_proxy(Config(listen=ListenConfig(port=0), **concerns)) as proxy:
        yield proxy


def at(proxy: Proxy, path: str) -> str:
    return urljoin(proxy.url, path)


async def health(proxy: Proxy) -> tuple[int, dict[str, str]]:
    answer = await wire.request(at(proxy, "/healthz"))
    return answer.status, {name: report["state"] for name, report in answer.json["servers"].items()}


async def until_healthy(proxy: Proxy, states: dict[str, str]) -> int:
    """Return the status of the health report once it says `states`."""
    while True:
        status, found = await health(proxy)
        if found == states:
            return status
        await trio.sleep(0.01)


async def tools_of(url: str) -> list[str]:
    client = await wire.initialize(url)
    return [tool["name"] for tool in (await client.post(request("tools/list", 1))).json["result"]["tools"]]


def write_servers(file: Path, **servers: Any) -> None:
    file.write_text(json.dumps({"mcpServers": servers}))


async def test_each_server_has_its_own_paths_and_the_default_one_keeps_its_own() -> None:
    named = {"demo": ChildConfig(DEMO), "my notes": ChildConfig(PUPPET)}
    async with open_test_proxy(PUPPET, servers=named) as proxy:
        await proxy.wait_proven()
        base = proxy.url.removesuffix("/mcp")
        assert proxy.urls == (
            f"{base}/mcp",
            f"{base}/sse",
            f"{base}/servers/demo/mcp",
            f"{base}/servers/demo/sse",
            f"{base}/servers/my%20notes/mcp",
            f"{base}/servers/my%20notes/sse",
        )
        assert "echo" in await tools_of(f"{base}/servers/demo/mcp")
        for url in (f"{base}/mcp", f"{base}/servers/my%20notes/mcp"):
            client = await wire.initialize(url)
            assert "pid" in (await client.post(request("heard", 1))).json["result"]
        # A session of one server is none of another.
        client.url = f"{base}/servers/demo/mcp"
        assert (await client.post(request("tools/list", 2))).status == 404
        assert (await wire.request(f"{base}/servers/none/mcp")).status == 404


@pytest.mark.parametrize("name", ["demo", "my notes"])
async def test_http_with_sse_says_where_to_post(name: str) -> None:
    async with serve(servers={name: ChildConfig(PUPPET)}) as proxy:
        await proxy.wait_proven()
        sse = proxy.urls[1]
        async with wire.open_stream(sse) as stream:
            event = await stream.next_event()
            assert event is not None
            assert event.data is not None
            assert event.data.startswith(sse.removesuffix("/sse")[sse.index("/servers") :] + "/messages?session_id=")
            posted = await wire.request(
                urljoin(sse, event.data), "POST", wire.JSON_HEADERS, json.dumps(request("repeat", 7)).encode()
            )
            assert posted.status == 202
            assert (await stream.next_message())["id"] == 7


async def test_a_modern_client_finds_the_same_servers() -> None:
    async with serve(servers={"a": ChildConfig(MODERN_PUPPET)}) as proxy:
        await proxy.wait_proven()
        answer = await modern.post(proxy.url, modern.request("server/discover", 1))
        assert answer.json["result"]["supportedVersions"]


async def test_one_that_fails_leaves_the_others_and_says_why() -> None:
    async with serve(servers={"bad": ChildConfig(BROKEN), "good": ChildConfig(DEMO)}) as proxy:
        await proxy.wait_proven()
        assert await until_healthy(proxy, {"bad": "failing", "good": "ready"}) == 200
        refused = await wire.request(
            at(proxy, "/servers/bad/mcp"), "POST", wire.JSON_HEADERS, json.dumps(request("initialize", 1)).encode()
        )
        assert refused.status == 503
        assert "retry-after" in refused.headers
        assert "this is broken" in refused.json["error"]["message"]
        assert "echo" in await tools_of(at(proxy, "/servers/good/mcp"))


async def test_one_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers_module, "_PAUSE_FIRST", 0.01)
    there = tmp_path / "there"
    demo = [sys.executable, "-m", "trioproxy.demo"]
    late = python(f"import os, sys\nos.path.exists({str(there)!r}) or sys.exit(1)\nos.execv({demo[0]!r}, {demo!r})")
    async with serve(servers={"late": ChildConfig(late)}) as proxy:
        await proxy.wait_proven()
        assert await until_healthy(proxy, {"late": "failing"}) == 503
        there.touch()
        assert await until_healthy(proxy, {"late": "ready"}) == 200
        assert "echo" in await tools_of(proxy.url)


async def test_the_default_server_decides_whether_we_are_well() -> None:
    async with open_test_proxy(DEMO, servers={"bad": ChildConfig(BROKEN)}) as proxy:
        await proxy.wait_proven()
        assert await until_healthy(proxy, {"default": "ready", "bad": "failing"}) == 200
        assert proxy.state == "ready"


async def test_metrics_are_said_of_each_server() -> None:
    async with open_test_proxy(DEMO, servers={"a": ChildConfig(DEMO), "bad": ChildConfig(BROKEN)}) as proxy:
        await proxy.wait_proven()
        await until_healthy(proxy, {"default": "ready", "a": "ready", "bad": "failing"})
        await wire.initialize(at(proxy, "/servers/a/mcp"))
        text = (await wire.request(at(proxy, "/metrics"))).body.decode()
        for line in (
            'trioproxy_sessions{server="default"} 0.0',
            'trioproxy_sessions{server="a"} 1.0',
            'trioproxy_ready{server="a"} 1.0',
            'trioproxy_ready{server="bad"} 0.0',
        ):
            assert line in text.splitlines()


async def test_the_file_is_read_again_and_only_what_has_changed_is_touched(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    write = partial(write_servers, file)
    puppet = {"command": PUPPET[0], "args": list(PUPPET[1:])}
    demo = {"command": DEMO[0], "args": list(DEMO[1:])}
    write(stays=puppet, changes=puppet, goes=puppet)
    async with serve(server_file=ServerFile(file)) as proxy:
        await proxy.wait_proven()
        clients = {name: await wire.initialize(at(proxy, f"/servers/{name}/mcp")) for name in ("stays", "changes", "goes")}
        write(stays=puppet, changes=demo, comes=demo)
        proxy.reload()
        await proxy.wait_proven()
        assert await until_healthy(proxy, {"stays": "ready", "changes": "ready", "comes": "ready"}) == 200
        assert (await clients["stays"].post(request("repeat", 1))).status == 200
        assert (await clients["changes"].post(request("repeat", 1))).status == 404
        assert (await clients["goes"].post(request("repeat", 1))).status == 404
        for name in ("changes", "comes"):
            assert "echo" in await tools_of(at(proxy, f"/servers/{name}/mcp"))

        # What can't be read changes nothing.
        file.write_text('{"mcpServers": {"stays": {}}}')
        with pytest.raises(ValueError, match=r"mcpServers\.stays: expected either a command or a url"):
            proxy.reload()
        assert (await clients["stays"].post(request("repeat", 2))).status == 200


async def test_what_is_taken_away_may_finish_its_calls(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"a": {"command": DEMO[0], "args": list(DEMO[1:])}}}))
    async with serve(server_file=ServerFile(file)) as proxy:
        await proxy.wait_proven()
        client = await wire.initialize(proxy.url)
        answers: list[Any] = []

        async def call() -> None:
            answers.append((await client.call("count", 1, to=3, delay_ms=300)).messages[-1])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            file.write_text('{"mcpServers": {}}')
            proxy.reload()
        assert "isError" not in answers[0]["result"]
        assert proxy.urls == ()


async def test_two_servers_of_one_name_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"a": {"command": "cat"}}}')
    with pytest.raises(ValueError, match="'a' is the name of another server"):
        async with serve(servers={"a": ChildConfig(("cat",))}, server_file=ServerFile(file)):
            pass


async def test_no_process_is_left_when_the_proxy_ends() -> None:
    async with serve(servers={"a": ChildConfig(DEMO), "b": ChildConfig(PUPPET)}) as proxy:
        await proxy.wait_proven()
        await wire.initialize(proxy.url)
        assert len(descendants_of_this()) >= 3
    assert descendants_of_this() == []


def descendants_of_this() -> list[int]:
    return descendants(os.getpid())


# A server at a URL


async def test_a_remote_is_served_like_a_command_to_clients_of_either_era() -> None:
    async with open_test_proxy(DEMO) as behind:
        await behind.wait_proven()
        remote = RemoteConfig(behind.url)
        async with serve(servers={"far": remote}) as proxy:
            await proxy.wait_proven()
            client = await wire.initialize(proxy.url)
            said = await client.call("echo", 1, text="hello")
            assert said.messages[-1]["result"]["content"][0]["text"] == "hello"
            answer = await modern.post(proxy.url, modern.request("tools/list", 1))
            assert "echo" in [tool["name"] for tool in answer.json["result"]["tools"]]
            await wire.request(client.url, "DELETE", client.headers)


# What whoever uses the library has a say in


async def test_a_function_makes_the_server_for_who_asks() -> None:
    seen: list[tuple[str | None, str | None]] = []

    def create_server(request: AuthRequest | None, principal: Principal | None) -> Any:
        assert request is not None
        seen.append((request.header("x-team"), principal.id if principal else None))
        if request.header("x-team") == "none":
            raise AuthenticationError("no team")
        return open_child(PUPPET)

    auth = AuthConfig(api_keys=("k",))
    async with serve(create_server=create_server, auth=auth) as proxy:
        assert proxy.state == "ready"
        headers = {**wire.JSON_HEADERS, "x-api-key": "k"}
        body = json.dumps(request("initialize", 1, protocolVersion="2025-11-25", capabilities={}, clientInfo={})).encode()
        answer = await wire.request(proxy.url, "POST", {**headers, "x-team": "red"}, body)
        assert answer.json["result"]
        assert seen[0][0] == "red"
        assert seen[0][1]
        refused = await wire.request(proxy.url, "POST", {**headers, "x-team": "none"}, body)
        assert (refused.status, refused.json["id"]) == (401, 1)


async def test_sessions_are_announced_and_said_goodbye_to() -> None:
    told: list[tuple[str, SessionInfo]] = []
    gone = trio.Event()

    async def on_connect(session: SessionInfo) -> None:
        told.append(("connect", session))

    async def on_close(session: SessionInfo) -> None:
        told.append(("close", session))
        gone.set()

    async with open_test_proxy(PUPPET, on_connect=on_connect, on_close=on_close) as proxy:
        client = await wire.initialize(proxy.url)
        await wire.request(client.url, "DELETE", client.headers)
        await gone.wait()
    (_, first), (_, last) = told
    assert [what for what, _ in told] == ["connect", "close"]
    assert first == last
    assert (first.transport, first.principal) == ("stream", None)
    assert client.headers["mcp-session-id"].startswith(first.short_id)


async def test_who_is_refused_by_on_connect_has_no_session() -> None:
    async def on_connect(session: SessionInfo) -> None:
        raise AuthenticationError("not today")

    closed: list[SessionInfo] = []

    async def on_close(session: SessionInfo) -> None:
        closed.append(session)

    async with open_test_proxy(PUPPET, on_connect=on_connect, on_close=on_close) as proxy:
        body = json.dumps(request("initialize", 1, protocolVersion="2025-11-25")).encode()
        refused = await wire.request(proxy.url, "POST", wire.JSON_HEADERS, body)
        assert (refused.status, refused.json["error"]["message"]) == (401, "not today")
        await wait_until(lambda: not proxy.sessions)
    assert closed == []


async def fallback(scope: Any, receive: Any, send: Any) -> None:
    """Say what was asked for, and who asks (ASGI)."""
    if scope["path"] == "/fails":
        raise ZeroDivisionError
    principal = scope["trioproxy.principal"]
    body = f"{scope['path']} for {principal.id if principal else 'anybody'}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def test_what_we_do_not_serve_an_application_may_and_it_shadows_nothing() -> None:
    async with open_test_proxy(PUPPET, on_unhandled_request=fallback) as proxy:
        assert (await wire.request(at(proxy, "/about"))).body == b"/about for anybody"
        assert (await wire.request(at(proxy, "/ping"))).body == b"pong"
        assert (await wire.request(at(proxy, "/mcp"), "PUT")).status == 405
        assert (await wire.request(at(proxy, "/messages"), "POST", wire.JSON_HEADERS, b"{}")).status == 400
        assert (await wire.request(at(proxy, "/fails"))).status == 500
        assert (await wire.request(at(proxy, "/about"), "GET", {"host": "evil.example"})).status == 403


async def test_the_application_is_for_those_who_may_come_in() -> None:
    auth = AuthConfig(api_keys=("k",))
    async with open_test_proxy(PUPPET, on_unhandled_request=fallback, auth=auth) as proxy:
        assert (await wire.request(at(proxy, "/about"))).status == 401
        answer = await wire.request(at(proxy, "/about"), "GET", {"x-api-key": "k"})
        assert answer.status == 200
        assert not answer.body.endswith(b"anybody")


async def test_a_page_of_another_origin_may_read_what_the_application_says_if_it_may_call_us() -> None:
    async with open_test_proxy(PUPPET, on_unhandled_request=fallback) as proxy:
        origin = proxy.url.removesuffix("/mcp")
        answer = await wire.request(at(proxy, "/about"), "GET", {"origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin


# Names


@pytest.mark.parametrize("name", ["my notes", "日本語", "a+b&c;d=e@f:g", "é'\"<>", "x.y-z_~"])
async def test_whatever_the_name_it_can_be_found_and_so_can_its_metadata(name: str) -> None:
    """RFC 9728 §3.1; in a URL the name is percent-encoded, and a client is led to the metadata of what it asked for."""
    oauth = AuthConfig(oauth_issuer="https://issuer.example", oauth_audiences=("api",), api_keys=("k",))
    async with serve(servers={"other": ChildConfig(PUPPET), name: ChildConfig(PUPPET)}, auth=oauth) as proxy:
        await proxy.wait_proven()
        url, sse = proxy.urls[2:]
        assert url.isascii()
        body = json.dumps(request("initialize", 1, protocolVersion="2025-11-25", capabilities={}, clientInfo={})).encode()
        assert (await wire.request(url, "POST", {**wire.JSON_HEADERS, "x-api-key": "k"}, body)).status == 200
        for path in (url, sse):
            refused = await wire.request(path, "GET", {"accept": "text/event-stream"})
            assert refused.status == 401
            metadata = refused.headers["www-authenticate"].partition('resource_metadata="')[2].partition('"')[0]
            assert metadata.endswith(urlsplit(path).path)
            assert (await wire.request(metadata)).json["resource"] == path
        # Of one that is not served nothing is said, not even that it is not.
        assert (await wire.request(at(proxy, "/servers/none/mcp"))).status == 401
        assert (await wire.request(at(proxy, "/.well-known/oauth-protected-resource/servers/none/mcp"))).status == 404


@pytest.mark.parametrize("path", ["mcp", "sse", "messages?session_id=x"])
async def test_each_path_of_each_server_asks_who_is_there(path: str) -> None:
    keys = AuthConfig(api_keys=("k",))
    async with open_test_proxy(PUPPET, servers={"a": ChildConfig(PUPPET), "bad": ChildConfig(BROKEN)}, auth=keys) as proxy:
        await proxy.wait_proven()
        for prefix in ("", "servers/a/", "servers%2Fa%2f", "servers/bad/", "./servers/a/"):
            for method in ("GET", "POST", "DELETE", "PUT"):
                refused = await wire.request(at(proxy, f"/{prefix}{path}"), method, wire.JSON_HEADERS, b"{}")
                assert refused.status == 401
                assert b"broken" not in refused.body


async def test_a_server_can_not_be_called_what_the_one_without_a_name_is_called(tmp_path: Path) -> None:
    taken = "'default' can't be the name of a server"
    with pytest.raises(ConfigError, match=taken):
        async with open_test_proxy(PUPPET, servers={"default": ChildConfig(DEMO)}):
            pass
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"default": {"command": "cat"}}}')
    with pytest.raises(ConfigError, match=taken):
        async with open_test_proxy(PUPPET, server_file=ServerFile(file)):
            pass
    async with serve(servers={"default": ChildConfig(BROKEN), "a": ChildConfig(PUPPET)}) as proxy:
        await proxy.wait_proven()
        # It is one of two, and the other will do.
        assert await until_healthy(proxy, {"default": "failing", "a": "ready"}) == 200


# The set changes


def entry(command: tuple[str, ...]) -> dict[str, Any]:
    return {"command": command[0], "args": list(command[1:])}


async def test_a_name_that_is_given_again_while_its_former_server_still_drains_is_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    write_servers(file, a=entry(DEMO))
    async with serve(server_file=ServerFile(file), times=TimeConfig(graceful_shutdown_timeout=20)) as proxy:
        await proxy.wait_proven()
        client = await wire.initialize(proxy.url)
        async with client.open_post(wire.tool_call("count", 1, to=4, delay_ms=400)) as call:
            # Away, there again as something else, away again, and there as it was: all before any of it has had time.
            for servers in ({}, {"a": entry(PUPPET)}, {}, {"a": entry(DEMO)}):
                write_servers(file, **servers)
                proxy.reload()
            await proxy.wait_proven()
            assert "echo" in await tools_of(proxy.url)
            assert (await client.post(request("tools/list", 2))).status == 404
            while "result" not in (message := await call.next_message()):
                pass
            assert message["id"] == 1
            assert "isError" not in message["result"]
        # The former server has ended, and the new one has not been taken for it.
        assert "echo" in await tools_of(proxy.url)
        assert await until_healthy(proxy, {"a": "ready"}) == 200


async def test_what_is_taken_away_before_it_has_begun_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    write_servers(file)
    async with serve(server_file=ServerFile(file)) as proxy:
        write_servers(file, a=entry(DEMO))
        proxy.reload()
        (served,) = proxy.servers
        write_servers(file)
        proxy.reload()
        with trio.fail_after(5):
            await served.settled.wait()
        assert list(proxy.servers) == []


async def test_servers_may_come_and_go_while_our_health_is_looked_at(tmp_path: Path) -> None:
    """One that is asked takes its time to answer."""
    file = tmp_path / "mcp.json"
    slow = python(
        'import sys, time\nfor line in sys.stdin: time.sleep(0.3); print(\'{"jsonrpc":"2.0","id":0,"result":{}}\')'
    )
    write_servers(file, a=entry(slow), b=entry(slow), c=entry(slow))
    async with serve(server_file=ServerFile(file)) as proxy:
        await proxy.wait_proven()
        answers: list[wire.Answer] = []

        async def ask() -> None:
            answers.append(await wire.request(at(proxy, "/healthz")))

        began_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(0.1)
            write_servers(file, b=entry(slow), d=entry(slow))
            proxy.reload()
        assert answers[0].status == 200
        assert set(answers[0].json["servers"]) == {"a", "b", "c"}
        # They were asked at the same time.
        assert trio.current_time() - began_at < 0.8


async def test_who_was_on_the_way_to_a_server_that_failed_meanwhile_is_told_so() -> None:
    late = python("import time, sys; time.sleep(0.8); sys.exit('gone')")
    async with serve(servers={"a": ChildConfig(late)}) as proxy:
        await proxy.wait_proven()
        url = urlsplit(proxy.url)
        body = json.dumps(request("initialize", 1, protocolVersion="2025-11-25")).encode()
        head = (
            f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
            f"Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        async with wire.connect(proxy.url) as connection:
            await connection.stream.send_all(head.encode())
            await until_healthy(proxy, {"a": "failing"})
            answer = await ask(connection, body, "POST")
        assert (answer.status, answer.json["id"]) == (503, 1)


async def test_a_file_that_is_wrong_does_not_keep_a_key_from_being_taken_away(tmp_path: Path) -> None:
    keys, file = tmp_path / "keys", tmp_path / "mcp.json"
    keys.write_text("old\nnew\n")
    write_servers(file, a=entry(PUPPET))
    async with serve(server_file=ServerFile(file), auth=AuthConfig(api_key_file=keys)) as proxy:
        keys.write_text("new\n")
        file.write_text("nonsense")
        with pytest.raises(ConfigError, match="not JSON"):
            proxy.reload()
        assert (await wire.request(proxy.url, "GET", {"x-api-key": "old"})).status == 401
        keys.unlink()
        with pytest.RaisesGroup(ConfigError, KeyFileError):
            proxy.reload()


# Deaths


async def test_a_named_server_that_dies_ends_everything_if_that_was_asked_for() -> None:
    late = python("import time, sys; time.sleep(0.8); sys.exit('gone')")
    with pytest.RaisesGroup(CommandFailed, flatten_subgroups=True):
        async with serve(servers={"a": ChildConfig(late), "b": ChildConfig(PUPPET)}, exit_on_child_death=True) as proxy:
            await proxy.wait_proven()
            await trio.sleep_forever()


async def test_a_named_server_that_never_worked_has_not_died() -> None:
    async with serve(servers={"a": ChildConfig(BROKEN), "b": ChildConfig(PUPPET)}, exit_on_child_death=True) as proxy:
        await proxy.wait_proven()
        assert await until_healthy(proxy, {"a": "failing", "b": "ready"}) == 200


async def test_how_often_a_server_has_ended_is_counted_over_all_its_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers_module, "_PAUSE_FIRST", 0.01)
    async with serve(servers={"a": ChildConfig(BROKEN)}) as proxy:
        report: dict[str, Any] = {"restarts": 0}
        while report["restarts"] < 2:
            report = (await wire.request(at(proxy, "/healthz"))).json["servers"]["a"]
        # A stranger may read this, so the server's last words are not in it.
        assert report["last_exit"] == "the server exited with status 1 before it had answered anything"


async def test_what_fails_while_we_end_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers_module, "_PAUSE_FIRST", 0.05)
    monkeypatch.setattr(servers_module, "_PAUSE_LONGEST", 0.05)
    tries = tmp_path / "tries"
    broken = python(f"open({str(tries)!r}, 'a').write('x')")
    async with open_test_proxy(DEMO, servers={"a": ChildConfig(broken)}, child={"spares": 0}) as proxy:
        client = await wire.initialize(proxy.url)
        await wait_until(lambda: tries.exists() and len(tries.read_text()) >= 2)
        async with client.open_post(wire.tool_call("count", 1, to=1, delay_ms=1500)), trio.open_nursery() as nursery:
            nursery.start_soon(proxy.stop)
            await trio.testing.wait_all_tasks_blocked()
            so_far = len(tries.read_text())
        # One may have been on its way.
        assert len(tries.read_text()) <= so_far + 1


# A user's function that takes too long, or fails


LIMITED = TimeConfig(connection_timeout=0.5)


def initialize_body() -> bytes:
    return json.dumps(request("initialize", 1, protocolVersion="2025-11-25", capabilities={}, clientInfo={})).encode()


async def hang(*_: object) -> Any:
    await trio.sleep_forever()


async def fail(*_: object) -> Any:
    raise ZeroDivisionError("s3cret")


@asynccontextmanager
async def open_and_fail(*_: object) -> AsyncIterator[Any]:
    raise ZeroDivisionError("s3cret")
    yield


@asynccontextmanager
async def open_and_hang(*_: object) -> AsyncIterator[Any]:
    await trio.sleep_forever()
    yield


@asynccontextmanager
async def open_and_refuse(*_: object) -> AsyncIterator[Any]:
    raise AuthenticationError("not you")
    yield


@asynccontextmanager
async def open_and_answer(*_: object) -> AsyncIterator[Any]:
    raise HttpError(418, body=b"teapot")
    yield


@pytest.mark.parametrize(
    ("create_server", "status"),
    [(hang, 502), (fail, 500), (open_and_fail, 502), (open_and_hang, 502), (open_and_refuse, 401), (open_and_answer, 418)],
)
@pytest.mark.parametrize("kind", ["legacy", "modern", "sse"])
async def test_whatever_becomes_of_create_server_its_client_gets_an_answer(
    create_server: Any, status: int, kind: str
) -> None:
    async with serve(create_server=create_server, times=LIMITED) as proxy:
        if kind == "legacy":
            answer = await wire.request(proxy.url, "POST", wire.JSON_HEADERS, initialize_body())
        elif kind == "modern":
            answer = await modern.post(proxy.url, modern.request("tools/list", 1))
        else:
            answer = await wire.request(proxy.urls[1])
        assert answer.status == status
        assert b"s3cret" not in answer.body
        if status != 418:
            assert answer.json["id"] == (None if kind == "sse" else 1)
        assert proxy.sessions == 0
        assert proxy.state == "ready"


@pytest.mark.parametrize(("on_connect", "status"), [(hang, 503), (fail, 500)])
async def test_an_on_connect_that_hangs_or_fails_costs_its_session_and_nothing_else(on_connect: Any, status: int) -> None:
    closed: list[SessionInfo] = []

    async def on_close(session: SessionInfo) -> None:
        closed.append(session)

    async with open_test_proxy(DEMO, on_connect=on_connect, on_close=on_close, times=LIMITED) as proxy:
        answer = await wire.request(proxy.url, "POST", wire.JSON_HEADERS, initialize_body())
        assert (answer.status, answer.json["id"]) == (status, 1)
        assert b"s3cret" not in answer.body
        await wait_until(lambda: not proxy.sessions)
        assert (await modern.post(proxy.url, modern.request("tools/list", 1))).status == 200
    assert closed == []


async def test_a_session_that_ends_during_on_connect_is_said_goodbye_to_once() -> None:
    told: list[str] = []

    async def on_connect(session: SessionInfo) -> None:
        told.append("connect")
        session.server.send_nowait(b'{"jsonrpc":"2.0","id":1,"method":"die","params":{"status":3}}')
        await wait_until(lambda: session.server.failure is not None and not proxy.sessions)
        await trio.sleep(0.1)

    async def on_close(session: SessionInfo) -> None:
        told.append("close")

    async with open_test_proxy(PUPPET, on_connect=on_connect, on_close=on_close) as proxy:
        answer = await wire.request(proxy.url, "POST", wire.JSON_HEADERS, initialize_body())
        assert answer.status >= 400
        assert told == ["connect", "close"]


async def test_an_on_close_that_fails_or_hangs_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_GOODBYE_TIME", 0.1)
    for on_close in (hang, fail):
        async with open_test_proxy(PUPPET, on_close=on_close) as proxy:
            client = await wire.initialize(proxy.url)
            await wire.request(client.url, "DELETE", client.headers)
            assert (await (await wire.initialize(proxy.url)).post(request("repeat", 1))).status == 200
