"""Whether a spare answers, as it is told from outside."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest
import trio
import trio.testing

from tests import modern, wire
from tests.proxies import open_test_proxy, python
from trioproxy import health

PINGS = r"""
import json, os, sys
pings = 0
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "ping":
        pings += 1
        %s
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}), flush=True)
    elif "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"protocolVersion": "2025-11-25", "pings": pings,
            "pid": os.getpid(), "capabilities": {}, "serverInfo": {"name": "pings", "version": "1"}}}), flush=True)
"""


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every look at our health be a look at a spare."""
    monkeypatch.setattr(health, "_BELIEVED", 0.0)


async def look(url: str) -> tuple[int, str]:
    answer = await wire.request(urljoin(url, "/healthz"))
    state: str = answer.json["servers"]["default"]["state"]
    return answer.status, state


async def test_a_spare_that_answers_is_good_and_is_a_spare_again() -> None:
    async with open_test_proxy(python(PINGS % "pass")) as proxy:
        await proxy.wait_proven()
        assert [await look(proxy.url) for _ in range(3)] == [(200, "ready")] * 3
        client = await wire.initialize(proxy.url)
        assert client.initialize_result["pings"] == 3


async def test_a_spare_that_has_stopped_answering_is_bad_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ANSWER_TIME", 0.2)
    async with open_test_proxy(python(PINGS % "if pings == 2: continue")) as proxy:
        await proxy.wait_proven()
        assert await look(proxy.url) == (200, "ready")
        assert await look(proxy.url) == (503, "unresponsive")
        with trio.fail_after(10):
            while await look(proxy.url) != (200, "ready"):
                await trio.testing.wait_all_tasks_blocked()


async def test_a_server_that_never_answers_before_its_handshake_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ANSWER_TIME", 0.1)
    async with open_test_proxy(python(PINGS % "continue")) as proxy:
        await proxy.wait_proven()
        assert [await look(proxy.url) for _ in range(3)] == [(200, "ready")] * 3
        assert (await wire.initialize(proxy.url)).initialize_result["pings"] == 1


async def test_an_error_is_an_answer() -> None:
    refuses = python(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    error = {'code': -32601, 'message': 'what?'}\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'id': json.loads(line)['id'], 'error': error}), flush=True)\n"
    )
    async with open_test_proxy(refuses) as proxy:
        await proxy.wait_proven()
        assert await look(proxy.url) == (200, "ready")


async def test_a_spare_that_was_asked_is_no_child_for_modern_requests() -> None:
    """Some servers are locked to the era of the first thing that they hear."""
    locked = python(
        "import json, sys\n"
        "first = None\n"
        "for line in sys.stdin:\n"
        "    message = json.loads(line)\n"
        "    first = first or message['method']\n"
        "    result = {'resultType': 'complete', 'supportedVersions': ['2026-07-28'], 'capabilities': {}, 'first': first}\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'result': result}), flush=True)\n"
    )
    async with open_test_proxy(locked) as proxy:
        await proxy.wait_proven()
        assert await look(proxy.url) == (200, "ready")
        answer = await modern.post(proxy.url, modern.request("server/discover"))
        assert answer.json["result"]["first"] == "server/discover"
