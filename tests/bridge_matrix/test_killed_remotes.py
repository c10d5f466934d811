"""A remote is killed, and started again on the same port, at every point of a call: what its host gets to see.

Exactly the calls that were lost fail, with an error that says so; all that comes later works, and the host is not restarted.
"""

from __future__ import annotations

import json
import re
from typing import Any

import trio

from tests.matrix.cells import Cell
from tests.matrix.client import Outcome
from tests.matrix.feature import text
from tests.real.sdk_ways import sdk_warnings
from tests.serving import wait_until

from .hosts import Host, fetch_traffic
from .remotes import Remotes
from .stories import Scenery, tell

pytestmark = sdk_warnings

REMOTES = (("stream", "legacy"), ("sse", "legacy"), ("stream", "modern"))
CELLS = [Cell(host, transport, era) for host in ("legacy", "modern") for transport, era in REMOTES]  # type: ignore[arg-type]

LOST = re.compile("no answer to tools/call|has closed the connection|reset by peer")


async def assert_works(host: Host, cell: Cell) -> None:
    outcome = await host.call("echo", {"text": "ünï"})
    assert outcome.result == cell.result("tools/call", text("echo", structuredContent={"text": "ünï"}, _meta={}))


async def wait_heard(scenery: Scenery, method: str) -> None:
    """Return once the remote, started again, has heard such a request."""
    heard: list[str] = []
    while method not in [json.loads(body).get("method") for body in heard]:
        await trio.sleep(0.02)
        heard = (await fetch_traffic(scenery.url))["heard"]


def session_request(cell: Cell) -> str:
    """Return the request by which a bridge that nobody asks anything is heard to be back."""
    return "initialize" if cell.spoken == "legacy" else "subscriptions/listen"


async def test_before_there_is_any_connection_it_is_waited_for(remotes: Remotes) -> None:
    async def story(scenery: Scenery) -> None:
        scenery.kill()

        async def come_back() -> None:
            # Long enough for a bridge to find nobody there.
            await trio.sleep(1)
            await scenery.restart()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(come_back)
            async with scenery.open_host() as host:
                await assert_works(host, scenery.cell)

    await tell(CELLS, remotes, story)


async def test_after_the_handshake_nothing_is_lost(remotes: Remotes) -> None:
    """A call that could not even be sent waits until it can."""

    async def story(scenery: Scenery) -> None:
        async with scenery.open_host() as host:
            scenery.kill()
            await scenery.restart()
            await assert_works(host, scenery.cell)
            scenery.kill()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(assert_works, host, scenery.cell)
                await trio.sleep(0.5)
                await scenery.restart()

    await tell(CELLS, remotes, story)


async def test_while_calls_run_these_fail_and_nothing_else(remotes: Remotes) -> None:
    async def story(scenery: Scenery) -> None:
        lost: list[Outcome] = []
        async with scenery.open_host() as host:

            async def run(tool: str, arguments: dict[str, Any], token: str | None = None) -> None:
                lost.append(await host.call(tool, arguments, token=token))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, "count", {"to": 3, "until": "the cows come home"}, "t")
                for number in (1, 2, 3):
                    assert (await host.hear("notifications/progress"))["progress"] == number
                nursery.start_soon(run, "hold", {"name": "another"})
                await host.call("await", {"mark": "another held"})
                scenery.kill()
            for outcome in lost:
                assert outcome.error["code"] == -32603
                assert LOST.search(outcome.error["message"]), outcome.error
            await scenery.restart()
            await assert_works(host, scenery.cell)
            assert len((await host.request("tools/list")).result["tools"]) == 2

    await tell(CELLS, remotes, story)


async def test_after_an_answer_what_was_subscribed_to_and_the_log_level_are_there_again(remotes: Remotes) -> None:
    async def story(scenery: Scenery) -> None:
        uri = "matrix://one"
        async with scenery.open_host() as host:
            await host.set_level("info")
            async with host.listen(uri):
                await assert_works(host, scenery.cell)
                scenery.kill()
                await scenery.restart()
                if scenery.cell.spoken == "legacy":
                    await assert_works(host, scenery.cell)
                    await host.call("listening", {})
                else:
                    await wait_heard(scenery, "subscriptions/listen")
                told = "told 0"
                while told != "told 1":
                    await trio.sleep(0.02)
                    told = (await host.call("touch", {"uri": uri})).result["content"][0]["text"]
                heard = host.unheard
                host.begin()
                if {"method": "notifications/resources/updated", "params": {"uri": uri}} not in heard:
                    assert await host.hear("notifications/resources/updated") == {"uri": uri}
                host.begin()
                await host.call("log", {"messages": [["debug", "quiet"], ["info", "loud"]]})
                while True:
                    # What may have changed unheard is said to have changed.
                    await wait_until(lambda: bool(host.unheard))
                    if host.unheard[0]["method"] == "notifications/message":
                        break
                    host._notifications.pop(0)
                assert (await host.hear("notifications/message"))["data"] == "loud"

    await tell(CELLS, remotes, story)


async def test_while_nothing_runs_it_is_found_again_without_being_asked(remotes: Remotes) -> None:
    """And what it announces then is heard."""

    async def story(scenery: Scenery) -> None:
        async with scenery.open_host() as host, host.listen():
            if scenery.cell.spoken == "legacy":
                await host.call("listening", {})
            else:
                await wait_heard(scenery, "subscriptions/listen")
            scenery.kill()
            await scenery.restart()
            await wait_heard(scenery, session_request(scenery.cell))
            # What may have changed meanwhile.
            heard = {(await hear_any(host)) for _ in range(3)}
            kinds = ("tools", "prompts", "resources")
            assert heard == {f"notifications/{kind}/list_changed" for kind in kinds}
            await host.call("listening", {})
            await host.call("change", {"kinds": ["prompts"]})
            assert await hear_any(host) == "notifications/prompts/list_changed"

    await tell(CELLS, remotes, story)


async def hear_any(host: Host) -> str:
    await wait_until(lambda: bool(host.unheard))
    method: str = host._notifications.pop(0)["method"]
    return method


async def test_a_remote_that_stays_away_is_said_and_a_later_one_is_found(remotes: Remotes) -> None:
    """HTTP+SSE does the same, and takes twice as long to say so."""

    async def story(scenery: Scenery) -> None:
        async with scenery.open_host() as host:
            scenery.kill()
            outcome = await host.call("echo", {"text": "anybody?"})
            assert outcome.error["code"] == -32603
            assert f":{scenery.remote.port}" in outcome.error["message"]
            await scenery.restart()
            await assert_works(host, scenery.cell)

    await tell([cell for cell in CELLS if cell.transport == "stream"], remotes, story)
