"""The client of the `mcp` SDK 1.x, which most installed Python clients still are, meets a server on 2.x."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .contract import HandshakeContract
from .driven_client import DrivenClient, DrivenProcess, open_driven_process
from .installed import python_with
from .proxy_process import RunningProxy, open_proxy

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def proxy() -> Iterator[RunningProxy]:
    with open_proxy("--", sys.executable, str(HERE / "sdk_server.py")) as running:
        yield running


@pytest.fixture(scope="module")
def process() -> Iterator[DrivenProcess]:
    command = [str(python_with("mcp==1.30.0")), str(HERE / "python_client.py")]
    with open_driven_process(command, HERE) as running:
        yield running


@pytest.fixture(scope="module", params=["stream", "sse"])
def transport(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def client(transport: str, proxy: RunningProxy, process: DrivenProcess) -> Iterator[DrivenClient]:
    with process.connect(proxy, transport) as connected:
        yield connected


@pytest.fixture(scope="module")
def other(transport: str, proxy: RunningProxy, process: DrivenProcess) -> Iterator[DrivenClient]:
    with process.connect(proxy, transport) as connected:
        yield connected


class TestWithAHandshake(HandshakeContract):
    pass
