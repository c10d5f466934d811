"""Which features are refused in which cells, why, and what holds all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .cells import Cell, Stage
from .client import Outcome
from .feature import Scene, text
from .features import FEATURES
from .legacy_clients import LegacySSEClient
from .modern_client import envelope
from .offers import LEGACY, MODERN, PREFIX, TOOLS


class Refusal(NamedTuple):
    """Something that can't cross.

    Attributes:
      features: those that it is about.
      reason: in one sentence, with the specification's own where there is one.
      scene: what holds instead; None where nothing is left to say.
    """

    driver: str | None
    features: frozenset[str]
    applies: Callable[[Cell], bool]
    reason: str
    scene: Scene | None = None


def find_refusal(driver: str, name: str, cell: Cell) -> Refusal | None:
    """Return why a feature is refused in a cell; None where it has to cross."""
    for refusal in REFUSALS:
        if refusal.driver in (None, driver) and name in refusal.features and refusal.applies(cell):
            return refusal
    return None


async def nothing_but_the_answer(stage: Stage) -> None:
    """A call whose client asks for progress and for logs is answered, and it hears nothing else."""
    async with stage.open_client() as client:
        await client.set_level("debug")
        await client.call("mark", {"mark": "counted"})
        counted = await client.call("count", {"to": 3, "until": "counted"}, token=7)
        assert counted.result == stage.cell.result("tools/call", text("counted"))
        logged = await client.call("log", {"messages": [["emergency", "unheard"]]})
        assert logged.result == stage.cell.result("tools/call", text("logged"))
        assert client.unheard == []


async def the_server_is_told(stage: Stage) -> None:
    """A server that asks all the same gets an error at once, and its client hears nothing of it."""
    async with stage.open_client({"roots": {}}) as client:
        await client.call("wonder", {})
        learned = await client.call("learned", {})
        assert learned.result == stage.cell.result("tools/call", text('{"error": -32601}'))
        assert client.questions == []


async def a_probe_is_understood(stage: Stage) -> None:
    """A modern client that comes all the same asks first, and goes on as it is answered.

    "If it receives any other error, or no response … the server is legacy" (2026-07-28, Versioning): then it shakes hands.
    """

    def modern(request_id: int, method: str) -> dict[str, Any]:
        params = {"_meta": envelope({})}
        return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}

    def tools(outcome: Outcome) -> Any:
        return outcome.result["tools"]

    async with stage.open_client(shakes_hands=False) as client:
        assert isinstance(client, LegacySSEClient)
        probed = await client.send_as_it_is(modern(1, "server/discover"))
        if stage.cell.spoken == "modern":
            assert probed.result["supportedVersions"] == [MODERN]
            assert probed.result["_meta"][PREFIX + "serverInfo"]["name"] == "matrix"
            assert tools(await client.send_as_it_is(modern(2, "tools/list"))) == TOOLS["modern"]
        else:
            assert probed.error["code"] not in (-32020, -32021, -32022)
            await client.shake_hands()
            assert client.introduction["protocolVersion"] == LEGACY
            assert tools(await client.request("tools/list")) == TOOLS["legacy"]


def _is_modern_over_sse(cell: Cell) -> bool:
    return cell.client == "modern" and cell.transport == "sse"


_NOT_DEFINED: Final = (
    "2026-07-28 defines stdio and Streamable HTTP (Transports); of HTTP+SSE it says no more than that it is deprecated, and "
    "how one falls back to it"
)

REFUSALS: Final = [
    Refusal("frames", frozenset({"introduction"}), _is_modern_over_sse, _NOT_DEFINED, a_probe_is_understood),
    Refusal("frames", frozenset(FEATURES) - {"introduction"}, _is_modern_over_sse, _NOT_DEFINED),
    Refusal(
        "sdk",
        frozenset({"questions beyond what is declared"}),
        lambda cell: _is_modern_over_sse(cell) and cell.spoken == "modern",
        _NOT_DEFINED
        + "; the SDK speaks it there all the same, to a server that answers, and refuses such a question itself",
    ),
    Refusal(
        None,
        frozenset({"questions outside any call"}),
        lambda cell: cell.spoken == "modern",
        'Of a modern server nobody expects any: "The server MUST NOT write JSON-RPC requests to stdout" (2026-07-28, stdio)',
    ),
    Refusal(
        None,
        frozenset({"questions outside any call"}),
        lambda cell: cell.client == "modern" and cell.spoken == "legacy" and cell.transport != "sse",
        'To a modern client questions come "embedded as input requests inside an InputRequiredResult" (2026-07-28, '
        "Streamable HTTP §Receiving Messages), and outside any call there is no result",
        the_server_is_told,
    ),
    Refusal(
        None,
        frozenset({"progress", "logs"}),
        lambda cell: cell.client == "modern" and cell.transport == "json",
        '"a single JSON object" (2026-07-28, Streamable HTTP §Sending Messages, 6) has no room for notifications, which '
        '"flow only on the response stream of the request they relate to" (§Receiving Messages)',
        nothing_but_the_answer,
    ),
]
