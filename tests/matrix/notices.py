"""What is said without being asked: while a call runs, and when something has changed."""

from __future__ import annotations

from typing import Any, Final

import trio

from .cells import Stage
from .feature import feature, text

# While a call runs


@feature("progress")
async def progress(stage: Stage) -> None:
    """With tokens of either type, and while the call still runs; of a call without one, nothing is heard."""
    cell = stage.cell
    async with stage.open_client() as client:
        for token in (7, "7"):
            mark = f"{cell} {stage.sees_frames} all heard of {token!r}"
            expected = cell.result("tools/call", text(mark))

            async def count(mark: str, token: int | str, expected: dict[str, Any]) -> None:
                counted = await client.call("count", {"to": 3, "until": mark}, token=token)
                assert counted.result == expected

            async with trio.open_nursery() as nursery:
                nursery.start_soon(count, mark, token, expected)
                for number in (1, 2, 3):
                    step = {"progressToken": token, "progress": number, "total": 3, "message": f"step {number}"}
                    assert await client.hear("notifications/progress") == step
                await client.call("mark", {"mark": mark})
        await client.call("count", {"to": 3, "until": mark})
        assert client.unheard == []


LOGS: Final = [("debug", "too quiet"), ("info", {"line": 1}), ("notice", "ünï"), ("emergency", None)]


@feature("logs")
async def logs(stage: Stage) -> None:
    """Those that are loud enough, and in their order."""
    async with stage.open_client() as client:
        await client.set_level("info")
        logged = await client.call("log", {"messages": LOGS})
        assert logged.result == stage.cell.result("tools/call", text("logged"))
        for level, data in LOGS[1:]:
            assert await client.hear("notifications/message") == {"level": level, "logger": "matrix", "data": data}
        assert client.unheard == []


@feature("cancellation")
async def cancellation(stage: Stage) -> None:
    """The server gets to know; another call that runs does not mind."""
    name = f"{stage.cell} {stage.sees_frames} given up"
    other = f"{stage.cell} {stage.sees_frames} other"
    async with stage.open_client() as client, trio.open_nursery() as nursery:

        async def wait_held() -> None:
            await client.call("await", {"mark": f"{name} held"})
            await client.call("await", {"mark": f"{other} held"})

        async def hold_other() -> None:
            held = await client.call("hold", {"name": other})
            assert held.result == stage.cell.result("tools/call", text(f"{other} released"))

        nursery.start_soon(hold_other)
        await client.cancel("tools/call", {"name": "hold", "arguments": {"name": name}}, wait_held)
        awaited = await client.call("await", {"mark": f"{name} cancelled"})
        assert awaited.result == stage.cell.result("tools/call", text(f"{name} cancelled"))
        await client.call("mark", {"mark": f"{other} released"})


# What changes


@feature("list changes")
async def list_changes(stage: Stage) -> None:
    async with stage.open_client(listens=True) as client, client.listen():
        await client.call("change", {"kinds": ["tools", "prompts", "resources"]})
        for kind in ("tools", "prompts", "resources"):
            assert await client.hear(f"notifications/{kind}/list_changed") == {}


@feature("resource updates")
async def resource_updates(stage: Stage) -> None:
    """Of what was subscribed to, and while it was: then the server is told that nobody wants to hear of it any more."""
    one, two = (f"matrix://{stage.cell}/{stage.sees_frames}/{number}" for number in ("one", "two"))
    async with stage.open_client(listens=True) as client:

        async def touch(uri: str) -> str:
            outcome = await client.call("touch", {"uri": uri})
            told: str = outcome.result["content"][0]["text"]
            return told

        async with client.listen(one, two):
            assert [await touch(uri) for uri in (one + "/other", two, one)] == ["told 0", "told 1", "told 1"]
            assert await client.hear("notifications/resources/updated") == {"uri": two}
            assert await client.hear("notifications/resources/updated") == {"uri": one}
        while await touch(one) != "told 0":
            pass
        # What was still said has been said by now.
        assert {notification["params"]["uri"] for notification in client.unheard} <= {one}
