"""`check` and `list` as they are run: processes, sockets and exit statuses."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

import conformance

from .wrong import World

PING = "ping.a-ping-is-answered-promptly-with-nothing"
FOLDER = Path(conformance.__file__).parent


async def run(*words: str) -> subprocess.CompletedProcess[bytes]:
    command = (sys.executable, "-m", "conformance", *words)
    return await trio.run_process(command, cwd=FOLDER.parent, capture_stdout=True, capture_stderr=True, check=False)


@asynccontextmanager
async def listening(**what: object) -> AsyncIterator[str]:
    """The server of the tests on a real socket."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, **what)  # type: ignore[arg-type]
        listeners = await nursery.start(partial(trio.serve_tcp, world.serve, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def test_a_server_that_keeps_the_protocol_is_a_success() -> None:
    async with listening() as url:
        done = await run("check", f"{url}/mcp", "--sse", f"{url}/sse", "--only", "ping.*", "--only", "lifecycle.the-*")

    assert done.returncode == 0, done
    lines = done.stdout.decode().splitlines()
    assert lines.count(f"passed   {PING}") == 4
    assert lines[-1] == "8 passed, 0 failed (MUST), 0 not as they should be (SHOULD), 0 skipped"
    # A progress line is for a terminal.
    assert done.stderr == b""


async def test_a_server_that_does_not_is_a_failure_and_json_says_why() -> None:
    async with listening(faults={PING}) as url:
        done = await run("check", f"{url}/mcp", "--revision", "2025-11-25", "--only", "ping.*", "--format", "json")

    (verdict,) = json.loads(done.stdout)["verdicts"]
    assert (done.returncode, verdict["outcome"], verdict["came"]) == (1, "failed", "{'pong': True}")


async def test_what_should_be_and_is_not_is_no_failure() -> None:
    warned = "posts.a-stream-opens-with-a-priming-event"
    async with listening(faults={warned}) as url:
        done = await run("check", f"{url}/mcp", "--revision", "2025-11-25", "--only", warned)

    assert done.returncode == 0
    assert f"warning  {warned}" in done.stdout.decode()


async def test_credentials_are_sent_with_each_request() -> None:
    async with listening(is_guarded=True) as url:
        given = ("check", f"{url}/mcp", "--revision", "2025-11-25", "--only", "authorization.*", "--only", "sessions.*")
        done = await run(*given, "--header", "Authorization: Bearer right")
        refused = await run(*given)

    assert done.returncode == 0, done
    assert b"passed   sessions.a-session-is-no-authentication" in done.stdout
    assert b"passed   authorization.without-a-token-the-answer-is-401" in done.stdout
    assert refused.returncode == 1
    assert b"does not speak" in refused.stderr


async def test_a_server_on_all_addresses_is_noticed() -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        listeners = await nursery.start(partial(trio.serve_tcp, world.serve, 0, host="0.0.0.0"))
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/mcp"
        done = await run("check", url, "--revision", "2025-11-25", "--only", "security.a-local-*")
        nursery.cancel_scope.cancel()

    assert b"warning  security.a-local-server-is-bound-to-localhost-only" in done.stdout


async def test_a_stdio_server_is_checked_through_the_proxy() -> None:
    command = (sys.executable, "-m", "trioproxy.demo")
    done = await run("check", "--stdio", "--only", "ping.*", "--only", "discovery.a-server-can*", "--", *command)

    assert done.returncode == 0, done
    assert b"5 passed, 0 failed" in done.stdout


async def test_a_command_that_cannot_be_served_is_a_failure_with_the_proxy_s_last_words() -> None:
    done = await run("check", "--stdio", "--", "no-such-command-anywhere")

    assert done.returncode == 1
    assert b"could not be served" in done.stderr
    assert b"no-such-command-anywhere" in done.stderr


def children_of(pid: int) -> list[int]:
    # Whichever thread has started them.
    return [int(child) for listed in Path(f"/proc/{pid}/task").glob("*/children") for child in listed.read_text().split()]


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_check_that_is_told_to_end_leaves_no_proxy_behind() -> None:
    command = (sys.executable, "-m", "conformance", "check", "--stdio", "--", sys.executable, "-m", "trioproxy.demo")
    run = partial(trio.run_process, command, cwd=FOLDER.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None
        said = b""
        while b"passed" not in said:
            said += bytes(await process.stdout.receive_some())
        children = children_of(process.pid)
        process.terminate()
        await process.wait()

    assert process.returncode == 1
    assert children
    assert not [child for child in children if is_running(child)]


async def test_a_pattern_that_fits_nothing_is_a_failure() -> None:
    async with listening() as url:
        done = await run("check", f"{url}/mcp", "--only", "pong.*")

    assert (done.returncode, done.stderr) == (1, b"no check was run\n")


async def test_an_endpoint_that_is_not_there_is_a_failure(free_port: int) -> None:
    done = await run("check", f"http://127.0.0.1:{free_port}/mcp")

    assert done.returncode == 1
    assert b"could not be talked to" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("check", "--stdio"),
        ("check", "http://h/mcp", "--stdio", "--", "cat"),
        ("check", "http://h/mcp", "--", "cat"),
        ("check", "h/mcp"),
        ("check", "http://h/mcp", "--header", "nonsense"),
        ("check", "http://h/mcp", "--revision", "1999-12-31"),
    ],
    ids=" ".join,
)
async def test_a_bad_command_line_is_told_from_a_failure(words: tuple[str, ...]) -> None:
    assert (await run(*words)).returncode == 2


async def test_the_list_is_printed_without_any_server() -> None:
    done = await run("list", "--revision", "2026-07-28")

    assert done.returncode == 0
    assert b"server/discover" in done.stdout


# --- Independence


CHECKING = [
    *FOLDER.glob("checks/*.py"),
    *FOLDER.glob("catalogue/*.py"),
    *FOLDER.glob("conversation/*.py"),
    *(FOLDER / f"{name}.py" for name in ("events", "wire", "survey", "trial", "checking", "reports", "proxied")),
    FOLDER / "check_commands.py",
    *Path(__file__).parent.glob("wrong/*.py"),
]


@pytest.mark.parametrize("path", CHECKING, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_the_checks_know_nothing_of_the_proxy_and_little_else(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        for name in names:
            package = name.partition(".")[0]
            assert package in {"trio", "h11"} or package in sys.stdlib_module_names, name
