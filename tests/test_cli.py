"""The command as its users run it: what it prints, where, and how it exits."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest
import trio

from trioproxy.cli import main, run_to_its_end
from trioproxy.config import ChildConfig, Config, LogConfig
from trioproxy.options import USAGE, render_help, render_markdown
from trioproxy.protocol.errors import CommandFailed, ListenError

CONFIG = Config(ChildConfig(("server",)))


def run(*argv: str, module: str = "trioproxy", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, in an environment in which nothing is configured but `environ`."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MCP_PROXY_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", module, *argv],
        env=ours | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_help_goes_to_stdout_and_exits_0() -> None:
    ended = run("--help")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, render_help(), "")


def test_version_goes_to_stdout_and_exits_0() -> None:
    ended = run("--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "trioproxy 0.1.0\n", "")


def test_the_readme_table_is_printed_by_the_module_of_options() -> None:
    ended = run(module="trioproxy.options")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, render_markdown(), "")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "no command: name the stdio server to run"),
        (["--prot", "1", "server"], "--prot: no such option; did you mean --port?"),
        (["--port", "http", "server"], "--port 'http': expected a number from 0 to 65535"),
        (["--demo", "server"], "--demo serves the built-in demo server, but a command came as well: server"),
        (["--endpoint", "/x", "server"], "--endpoint is the path of one transport"),
        (["--port", "1", "https://example.com/mcp"], "--port: that is for serving over HTTP, and here stdio is served"),
        (["--ca-file", "/no/such", "https://example.com/mcp"], "--ca-file /no/such: No such file or directory"),
        (["--config", "/no/such", "--stdio"], "--config /no/such: No such file or directory"),
    ],
)
def test_a_mistake_is_usage_on_stderr_and_exits_2(argv: list[str], message: str) -> None:
    ended = run(*argv)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"{USAGE}trioproxy: error: {message}")


def test_a_mistake_in_the_environment_exits_2() -> None:
    ended = run("server", MCP_PROXY_LOG_FORMAT="xml")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.endswith("trioproxy: error: MCP_PROXY_LOG_FORMAT 'xml': expected text or json\n")


def test_a_command_that_is_not_found_exits_1_and_is_named() -> None:
    ended = run("--port=0", "/no/such/server")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "trioproxy: error: " in ended.stderr
    assert "/no/such/server" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_failure_is_told_in_json_where_logs_are_json() -> None:
    ended = run("--port=0", "--log-format=json", "/no/such/server")
    events = [json.loads(line) for line in ended.stderr.splitlines()]
    assert ended.returncode == 1
    assert events[-1]["level"] == "error"
    assert "/no/such/server" in events[-1]["message"]


def test_without_stdin_stdout_and_stderr_a_mistake_still_exits_2() -> None:
    command = f'exec "{sys.executable}" -m trioproxy --nonsense <&- >&- 2>&-'
    assert subprocess.run(["/bin/sh", "-c", command], timeout=30).returncode == 2


# How an end becomes an exit code


async def ends_in_order(config: Config) -> None:
    await trio.lowlevel.checkpoint()


async def fails(config: Config) -> None:
    raise ListenError("address in use")


async def fails_twice_at_once(config: Config) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fails, config)
        raise CommandFailed("exited with status 3; its last words:\n\x1b[2Jno such table\n12:00:00.000 INFO  forged")


async def is_broken(config: Config) -> None:
    raise ZeroDivisionError


def test_an_orderly_end_is_0(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_to_its_end(ends_in_order, CONFIG) == 0
    assert capfd.readouterr() == ("", "")


def test_a_failure_is_1_with_its_reason_and_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_to_its_end(fails, CONFIG) == 1
    assert capfd.readouterr() == ("", "trioproxy: error: address in use\n")


def test_a_failure_shows_its_traceback_with_debug(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_to_its_end(fails, Config(ChildConfig(("server",)), log=LogConfig(debug=True))) == 1
    first, *others = capfd.readouterr().err.splitlines()
    assert first == "trioproxy: error: address in use"
    assert others[0] == "  Traceback (most recent call last):"
    assert others[-1] == "  trioproxy.protocol.errors.ListenError: address in use"


def test_each_of_several_failures_is_told_and_none_can_forge_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_to_its_end(fails_twice_at_once, CONFIG) == 1
    lines = capfd.readouterr().err.splitlines()
    assert sorted(lines) == sorted(
        [
            "trioproxy: error: exited with status 3; its last words:",
            "  \\x1b[2Jno such table",
            "  12:00:00.000 INFO  forged",
            "trioproxy: error: address in use",
        ]
    )


def test_a_defect_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        run_to_its_end(is_broken, CONFIG)


class Interrupted(list[str]):
    """A command line at whose reading somebody presses Control-C."""

    def __iter__(self) -> Iterator[str]:
        raise KeyboardInterrupt


def test_an_interrupt_before_anything_runs_is_130_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(Interrupted()) == 130
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc's allocator")
def test_large_messages_find_the_memory_that_those_before_have_left() -> None:
    """A page that is given back is a fault when it is used again."""
    program = """
import resource
from trioproxy.cli import _keep_free_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        held = [b"x" * 1_000_000 for _ in range(3)]
        held.clear()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
_keep_free_memory()
faults()
print(faults())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    without, with_it = map(int, ended.stdout.split())
    assert with_it * 10 < without
