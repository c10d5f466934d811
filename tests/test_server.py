"""The whole proxy, in this process and in one of its own."""

from __future__ import annotations

from tests import wire
from tests.proxies import open_test_proxy


async def test_a_call_reaches_the_server_and_its_answer_comes_back() -> None:
    async with open_test_proxy() as proxy:
        client = await wire.initialize(proxy.url)
        answer = await client.call("echo", text="hello")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json["result"]["content"] == [{"type": "text", "text": "hello"}]
