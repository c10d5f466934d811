"""The programs of README are run as they stand, but for the port, the URL, and what `my-server` is: the demo."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from textwrap import dedent

import httpx2
import pytest
import trio
from mcp import Client, StdioServerParameters, stdio_client

import trioproxy
from tests.proxies import open_test_proxy
from tests.real.sdk_ways import sdk_warnings
from trioproxy import AuthConfig

from .clients import call, connect, initialize, request

pytestmark = sdk_warnings

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = re.split(r"^## ", README.partition("## As a library\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
PROGRAMS = [dedent(block) for block in re.findall(r"^    .*\n(?:(?:    .*)?\n)*", SECTION, re.MULTILINE)]

TOKEN = "alices-token"
PORT = "8080"
"""Where each of them serves that does."""
URL = "https://example.com/mcp"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which there is a command `my-server`."""
    command = tmp_path / "my-server"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -m trioproxy.demo\n")
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "API_KEY": TOKEN}


@contextmanager
def run(program: str, environment: dict[str, str]) -> Iterator[None]:
    """Run a program for as long as the block runs, and interrupt it then."""
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL, stderr=printed
        )
        try:
            yield
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
            process.wait()
        printed.seek(0)
        assert "serving at http://127.0.0.1:" in printed.read()


async def wait_served(url: str) -> None:
    while True:
        try:
            await request("GET", url)
        except httpx2.ConnectError:
            await trio.sleep(0.02)
        else:
            return


@asynccontextmanager
async def open_client(program: str, environment: dict[str, str], port: int) -> AsyncIterator[Client]:
    """Be the client of a program, whichever way it serves."""
    if "stdio" in program:
        parameters = StdioServerParameters(command=sys.executable, args=["-c", program], env=environment)
        with tempfile.TemporaryFile("w+") as printed:
            async with Client(stdio_client(parameters, errlog=printed)) as client:
                yield client
            printed.seek(0)
            assert ("server-to-client" in printed.read()) == ("print" in program)
    else:
        url = f"http://127.0.0.1:{port}/mcp"
        with run(program.replace(PORT, str(port)), environment):
            await wait_served(url)
            assert (await initialize(url)).status_code == (401 if "AuthConfig" in program else 200)
            async with connect(url, {"authorization": f"Bearer {TOKEN}"}) as client:
                yield client


def test_there_are_programs() -> None:
    assert PROGRAMS
    assert all("stdio" in program or PORT in program for program in PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(1, len(PROGRAMS) + 1))
async def test_a_program_serves(program: str, environment: dict[str, str], free_port: int) -> None:
    async with (
        open_test_proxy(auth=AuthConfig(api_keys=(TOKEN,))) as elsewhere,
        open_client(program.replace(URL, elsewhere.url), environment, free_port) as client,
    ):
        assert await call(client, "add", a=2, b=3) == "5"


def test_what_the_table_names_is_there() -> None:
    rows = re.findall(r"^\| [^|`]+ \| (.+) \|$", SECTION, re.MULTILINE)
    for expression in re.findall(r"`([A-Za-z][^`]*)`", " ".join(rows)):
        name, _, arguments = expression.partition("(")
        assert name in trioproxy.__all__
        for keyword in re.findall(r"(\w+)=", arguments):
            assert keyword in inspect.signature(getattr(trioproxy, name)).parameters, expression
