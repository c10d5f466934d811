"""What goes wrong has a class, and a message that says what came and what was expected."""

from __future__ import annotations

import socket

import pytest

from tests.proxies import python
from trioproxy import (
    ChildConfig,
    ChildError,
    CommandFailed,
    Config,
    ConfigError,
    ListenConfig,
    ListenError,
    TrioproxyError,
    open_child,
    open_proxy,
)


def test_a_value_that_cannot_be_served_is_an_error_where_it_is_written() -> None:
    with pytest.raises(ConfigError, match="--port 80000: a port is a number from 0 to 65535"):
        ListenConfig(port=80000)
    with pytest.raises(ConfigError, match="'my-server -v': expected the words of a command, such as"):
        ChildConfig("my-server -v")  # type: ignore[arg-type]


async def test_a_command_that_cannot_be_started() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with open_proxy(Config(child=ChildConfig(("no-such-server",)), listen=ListenConfig(port=0))) as proxy:
            await proxy.wait_proven()
    assert raised.group_contains(CommandFailed, match="no-such-server")


async def test_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = Config(child=ChildConfig(("cat",)), listen=ListenConfig(port=other.getsockname()[1]))
        with pytest.raises(ListenError, match="another program listens there"):
            async with open_proxy(config):
                raise AssertionError("served")


async def test_a_server_that_ends_says_how() -> None:
    dies = ChildConfig(python("import sys; sys.exit('out of memory')"))
    said: list[str] = []
    async with open_child(dies, on_stderr=said.append) as child:
        with pytest.raises(ChildError, match="exited with status 1") as raised:
            await child.receive()
    assert isinstance(raised.value, TrioproxyError)
    assert raised.value.data is not None
    assert raised.value.data["stderr"] == said == ["out of memory"]
