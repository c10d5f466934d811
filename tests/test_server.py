"""The whole proxy, in this process and in one of its own: how it starts, and above all how it ends."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests import modern, wire
from tests.proxies import DEMO, ProxyProcess, descendants, is_alive, open_test_proxy, python, run_proxy, wait_gone
from tests.puppet import MODERN_PUPPET, PUPPET, request
from trioproxy import CommandFailed, ListenError
from trioproxy.config import ChildConfig, Config, ListenConfig, TimeConfig
from trioproxy.server import open_proxy

DEAF = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which a child inherits
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1000)"])
print("deaf and with family", file=sys.stderr, flush=True)
time.sleep(1000)
"""
"""Reads nothing, minds neither the end of its stdin nor SIGTERM, and neither does its child."""


def read_until(proxy: ProxyProcess, text: str) -> None:
    """Read the proxy's stderr until a line has `text` in it."""
    assert proxy.process.stderr is not None
    # A test that waits for a line which never comes is to fail, not to hang.
    timer = threading.Timer(60, proxy.process.kill)
    timer.start()
    try:
        while not any(text in line for line in proxy.said):
            line = proxy.process.stderr.readline()
            assert line, "the proxy ended: " + "\n".join(proxy.said)
            proxy.said.append(line.rstrip())
    finally:
        timer.cancel()
        timer.join()


def survivors(pids: list[int]) -> list[int]:
    return [pid for pid in pids if is_alive(pid)]


# In this process


async def test_a_call_reaches_the_server_and_its_answer_comes_back() -> None:
    async with open_test_proxy() as proxy:
        client = await wire.initialize(proxy.url)
        answer = await client.call("echo", text="hello")
        assert answer.messages[-1]["result"]["content"] == [{"type": "text", "text": "hello"}]


async def test_a_proxy_lasts_as_long_as_its_block_and_so_do_its_children() -> None:
    async with open_test_proxy(PUPPET) as proxy:
        client = await wire.initialize(proxy.url)
        assert proxy.urls == (proxy.url, proxy.url.replace("/mcp", "/sse"))
        children = descendants(os.getpid())
        assert len(children) == 2, "the session's, and a spare"
        assert (await client.post(request("repeat"))).status == 200
    assert survivors(children) == []
    with pytest.raises(OSError, match="all attempts to connect"):
        await wire.request(proxy.url)


async def test_a_proxy_that_is_cancelled_ends_in_the_middle_of_a_call() -> None:
    with trio.CancelScope() as scope:
        async with open_test_proxy(PUPPET, times=TimeConfig(graceful_shutdown_timeout=1000)) as proxy:
            client = await wire.initialize(proxy.url)
            async with client.open_post(request("wait", 1)):
                children = descendants(os.getpid())
                scope.cancel()
                await trio.sleep_forever()
    assert survivors(children) == []


async def test_an_error_in_the_block_ends_the_proxy_and_comes_out_of_it() -> None:
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with open_test_proxy(PUPPET):
            raise ZeroDivisionError


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_with_exit_on_child_death_a_server_that_ends_by_itself_ends_everything(era: str) -> None:
    ended = pytest.RaisesExc(
        CommandFailed, match="exited with status 3, and --exit-on-child-death says that this is the end"
    )
    with pytest.RaisesGroup(ended, flatten_subgroups=True), trio.fail_after(20):
        async with open_test_proxy(PUPPET if era == "legacy" else MODERN_PUPPET, exit_on_child_death=True) as proxy:
            if era == "legacy":
                client = await wire.initialize(proxy.url)
                await client.post(request("die", 1, status=3))
            else:
                await modern.post(proxy.url, modern.request("stammer", 5, text="{"))
            await trio.sleep_forever()


async def test_with_exit_on_child_death_a_server_that_is_ended_ends_nothing() -> None:
    async with open_test_proxy(PUPPET, exit_on_child_death=True) as proxy:
        client = await wire.initialize(proxy.url)
        await wire.request(client.url, "DELETE", client.headers)
        assert (await (await wire.initialize(proxy.url)).post(request("repeat"))).status == 200


async def test_a_command_that_does_not_work_is_an_error_in_the_block() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(CommandFailed, match="exited with status 7"), flatten_subgroups=True):
        async with open_test_proxy(python("import sys; sys.exit(7)")) as proxy:
            await proxy.wait_proven()
            await trio.sleep_forever()


async def test_an_address_that_is_taken_costs_no_child(free_port: int) -> None:
    listen = ListenConfig(port=free_port)
    # A command that would fail, too: of the two errors the address is the first.
    with socket.create_server(("127.0.0.1", free_port)), pytest.raises(ListenError, match="another program listens there"):
        async with open_proxy(Config(child=ChildConfig(("no-such-command",)), listen=listen)):
            pass


async def test_a_proxy_that_stops_lets_running_calls_end_and_nobody_new_in() -> None:
    async with open_test_proxy() as proxy:
        client = await wire.initialize(proxy.url)
        async with (
            client.open_post(wire.tool_call("count", 1, to=1, delay_ms=400)) as call,
            client.listen() as standalone,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(proxy.stop)
            await wait_all_tasks_blocked()
            with pytest.raises(OSError, match="all attempts to connect"):
                await wire.request(proxy.url)
            assert (await call.rest())[-1]["result"]["content"][0]["text"] == "Counted to 1."
            assert await standalone.rest() == []


# As a user's process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
async def test_a_signal_ends_everything_in_an_orderly_way(number: signal.Signals) -> None:
    with run_proxy("--graceful-shutdown-timeout", "200ms", *PUPPET) as proxy:
        mcp, sse = proxy.urls
        client, deaf = await wire.initialize(mcp), await wire.initialize(mcp)
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(client.open_post(request("wait", 1)))
            standalone = await stack.enter_async_context(client.listen())
            of_sse: Any = await stack.enter_async_context(wire.open_stream(sse))
            # Somebody asks for more than any buffer holds, and never reads it.
            await stack.enter_async_context(deaf.open_post(request("blob", 1, size=30_000_000)))
            idle = await stack.enter_async_context(wire.connect(mcp))
            children = proxy.children()
            assert len(children) == 4, "three sessions and a spare"
            proxy.signal(number)
            (error,) = await call.rest()
            assert (error["id"], error["error"]["code"]) == (1, -32000)
            assert "shut down" in error["error"]["message"]
            assert await standalone.rest() == []
            assert (await of_sse.next_event()).name == "endpoint"
            assert await of_sse.next_event() is None
            assert await idle.stream.receive_some() == b""
            assert proxy.wait() == 0
        assert survivors(children) == []


async def test_a_call_that_ends_in_time_gets_its_real_answer() -> None:
    with run_proxy(*DEMO) as proxy:
        client = await wire.initialize(proxy.urls[0])
        async with client.open_post(wire.tool_call("count", 1, to=4, delay_ms=100, token="t")) as stream:
            proxy.signal(signal.SIGTERM)
            assert (await stream.rest())[-1]["result"]["content"][0]["text"] == "Counted to 4."
        assert proxy.wait() == 0


async def test_a_second_signal_ends_everything_at_once(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    stubborn = python(
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: pathlib.Path(sys.argv[1]).touch())\n"
        "print('stubborn', file=sys.stderr)\n"
        "while True: time.sleep(1000)"
    )
    with run_proxy("--graceful-shutdown-timeout", "1h", *stubborn, str(asked)) as proxy:
        read_until(proxy, "stubborn")
        body = json.dumps(request("initialize", 0, protocolVersion="2025-11-25")).encode()
        async with wire.open_stream(proxy.urls[0], "POST", wire.JSON_HEADERS, body):
            children = proxy.children()
            proxy.signal(signal.SIGINT)
            read_until(proxy, "stopping")
            proxy.signal(signal.SIGINT)
            assert proxy.wait() == 1
        assert survivors(children) == []
        assert "stopped by force" in "\n".join(proxy.said)
        assert not asked.exists(), "it was asked to end, and waited for"


def test_no_process_survives_however_deaf_and_whoever_started_it(tmp_path: Path) -> None:
    """A shell, what it runs, and what that runs."""
    program = tmp_path / "deaf.py"
    program.write_text(DEAF)
    with run_proxy("--shell", f"{shlex.quote(sys.executable)} -S {shlex.quote(str(program))}; true") as proxy:
        read_until(proxy, "deaf and with family")
        children = proxy.children()
        assert len(children) == 3
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
        assert survivors(children) == []


@pytest.mark.parametrize("shell", [False, True])
async def test_the_children_of_a_proxy_that_is_killed_end_by_themselves(shell: bool) -> None:
    command = ["--shell", f"{shlex.join(DEMO)}; true"] if shell else list(DEMO)
    with run_proxy(*command) as proxy:
        await wire.initialize(proxy.urls[0])
        children = proxy.children()
        assert len(children) >= 2
        proxy.signal(signal.SIGKILL)
        assert proxy.wait() == -signal.SIGKILL
        for child in children:
            await wait_gone(child)


def test_a_signal_that_comes_while_we_start_leaves_nothing() -> None:
    with run_proxy(*python("import sys; print('begun', file=sys.stderr); sys.stdin.read()"), urls=0) as proxy:
        read_until(proxy, "begun")
        children = proxy.children()
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
        assert survivors(children) == []


async def test_who_starts_us_with_nohup_can_close_the_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with run_proxy(*PUPPET) as proxy:
            proxy.signal(signal.SIGHUP)
            assert (await wire.request(proxy.urls[0].replace("/mcp", "/ping"))).body == b"pong"
            proxy.signal(signal.SIGTERM)
            assert proxy.wait() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_sighup_reads_the_certificate_again_and_ends_nothing(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with run_proxy("--ssl-cert", certificate, "--ssl-key", key, *PUPPET) as proxy:
        assert all(url.startswith("https://") for url in proxy.urls)
        proxy.signal(signal.SIGHUP)
        read_until(proxy, "certificate, keys and servers read again")
        Path(key).write_text("nonsense")
        proxy.signal(signal.SIGHUP)
        read_until(proxy, "what was read before stays in use")
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0


def test_sighup_names_each_file_that_is_wrong_and_is_obeyed_again_later(tmp_path: Path) -> None:
    keys, servers = tmp_path / "keys", tmp_path / "mcp.json"
    keys.write_text("secret\n")
    servers.write_text('{"mcpServers": {}}')
    with run_proxy("--api-key-file", str(keys), "--config", str(servers), *PUPPET) as proxy:
        keys.unlink()
        servers.write_text("nonsense")
        proxy.signal(signal.SIGHUP)
        read_until(proxy, f"{keys}: No such file or directory; what was read before stays in use")
        read_until(proxy, "not JSON")
        keys.write_text("secret\n")
        servers.write_text('{"mcpServers": {}}')
        proxy.signal(signal.SIGHUP)
        read_until(proxy, "certificate, keys and servers read again")
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0


async def test_sighup_starts_nothing_once_the_end_has_begun(tmp_path: Path) -> None:
    servers = tmp_path / "mcp.json"
    servers.write_text('{"mcpServers": {}}')
    with run_proxy("--config", str(servers), *DEMO) as proxy:
        client = await wire.initialize(proxy.urls[0])
        async with client.open_post(wire.tool_call("count", 1, to=1, delay_ms=1500)) as call:
            proxy.signal(signal.SIGTERM)
            read_until(proxy, "stopping")
            servers.write_text(json.dumps({"mcpServers": {"a": {"command": "touch", "args": [str(tmp_path / "begun")]}}}))
            proxy.signal(signal.SIGHUP)
            assert (await call.rest())[-1]["result"]["content"][0]["text"] == "Counted to 1."
        assert await trio.to_thread.run_sync(proxy.wait) == 0
        assert not (tmp_path / "begun").exists()
        assert not any("read again" in line for line in proxy.said)


def make_certificate(directory: Path) -> tuple[str, str]:
    trustme = pytest.importorskip("trustme")
    issued = trustme.CA().issue_cert("localhost")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(certificate, append=True)
    return str(certificate), str(key)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_urls_are_announced_and_with_the_demo_something_to_try() -> None:
    with run_proxy("--demo", "--root-path", "/tools") as proxy:
        assert [url.rpartition("/tools/")[2] for url in proxy.urls] == ["mcp", "sse"]
        read_until(proxy, f"try: curl -i {proxy.urls[0]}")
        # There is no front here that would strip the prefix.
        command = shlex.split(proxy.said[-1].partition("try: ")[2].replace("/tools/mcp", "/mcp"))
        tried = subprocess.run(command, capture_output=True, check=True)
        assert b"HTTP/1.1 200" in tried.stdout
        assert b'"serverInfo"' in tried.stdout


def test_who_lets_every_page_call_is_told_what_that_means() -> None:
    with run_proxy("--cors-origin", "*", *PUPPET) as proxy:
        read_until(
            proxy, "WARNING --cors-origin '*': every page that somebody opens in a browser nearby can call the server"
        )


# A start that fails


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-command"], "command not found: 'no-such-command' is nowhere in PATH"),
        (["/no/such/command"], "command not found: '/no/such/command' does not exist"),
        (["/etc/passwd"], "command not executable: '/etc/passwd'"),
        (["--ssl-cert", "/no/such.pem", "--ssl-key", "/no/such.key", "true"], "can't read /no/such.pem: No such file"),
        (["--ssl-cert", "/etc/passwd", "--ssl-key", "/etc/passwd", "true"], "can't use the certificate /etc/passwd"),
        (["--host", "192.0.2.1", "true"], "can't listen on 192.0.2.1:0"),
        (["--shell", "exit 3"], "the server exited with status 3 before it had answered anything"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_keeps_us_from_starting_is_named_and_exits_with_1(arguments: list[str], message: str) -> None:
    with run_proxy(*arguments, urls=0) as proxy:
        status = proxy.wait()
        said = "\n".join(proxy.said)
        assert message in said
        assert (status, "Traceback" in said, "serving at" in said) == (1, False, False)


def test_a_command_that_dies_is_quoted() -> None:
    program = "import sys; print('first', file=sys.stderr); print('TOKEN is not set', file=sys.stderr); sys.exit(9)"
    with run_proxy(*python(program), urls=0) as proxy:
        assert proxy.wait() == 1
        said = "\n".join(proxy.said)
        assert "the server exited with status 9 before it had answered anything; its last words:" in said
        assert proxy.said[-2:] == ["    first", "    TOKEN is not set"]


def test_a_port_that_is_taken_is_named_and_exits_with_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with run_proxy("--port", str(port), *DEMO, urls=0) as proxy:
            assert proxy.wait() == 1
            said = "\n".join(proxy.said)
            assert f"can't listen on 127.0.0.1:{port}: Address already in use" in said
            assert "--port chooses another" in said
