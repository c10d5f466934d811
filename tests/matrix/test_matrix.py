"""The matrix: what crosses the proxy between each era of clients and each era of servers, over each transport.

Two drivers play the same scenes: one that reads and writes every frame itself, and the client of the `mcp` SDK.  In each
cell a feature either crosses, or is refused for a reason that the table of `refusals` gives.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import pytest
import trio

from tests.real.sdk_ways import sdk_warnings

from .cells import CELLS, Cell, Stage
from .conftest import Proxies
from .feature import text
from .features import FEATURES
from .frame_clients import open_frame_client
from .legacy_clients import LegacyStreamClient
from .questions import ASKABLE, FILLED_IN, FORM, answer
from .refusals import REFUSALS, find_refusal
from .sdk_client import open_sdk_client

pytestmark = sdk_warnings

DRIVERS: dict[str, Any] = {"frames": open_frame_client, "sdk": open_sdk_client}
CELLS_OF = {
    "frames": CELLS,
    # A server of both eras is one of its own to either; that the SDK finds it so, `test_servers` tells.
    "sdk": [cell for cell in CELLS if cell.child != "dual"],
}

_PATIENCE = 20.0
"""Seconds for one cell; less than a whole test has, so that the others are heard of."""

Verdicts = dict[tuple[str, str, Cell], str]


@pytest.fixture(scope="module")
def verdicts() -> Verdicts:
    """What has come of each feature in each cell, by driver: crosses, refused, or fails."""
    return {}


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_feature_crosses_or_is_refused_for_a_reason(
    driver: str, name: str, proxies: Proxies, verdicts: Verdicts
) -> None:
    """In all cells at the same time."""
    failures: list[Exception] = []

    async def try_in(cell: Cell) -> None:
        refusal = find_refusal(driver, name, cell)
        scene = FEATURES[name] if refusal is None else refusal.scene
        try:
            with trio.fail_after(_PATIENCE):
                if scene is not None:
                    await scene(set_stage(driver, cell, proxies))
        except Exception as error:
            error.add_note(f"{driver}: {name} in {cell}")
            failures.append(error)
            verdicts[driver, name, cell] = "fails"
        else:
            verdicts[driver, name, cell] = "crosses" if refusal is None else "refused"

    async with trio.open_nursery() as nursery:
        for cell in CELLS_OF[driver]:
            nursery.start_soon(try_in, cell)
    if failures:
        raise ExceptionGroup(f"{name} fails in {len(failures)} of {len(CELLS_OF[driver])} cells", failures)


def set_stage(driver: str, cell: Cell, proxies: Proxies) -> Stage:
    """Return where to try a feature."""
    open_client = partial(DRIVERS[driver], cell, proxies.url(cell))
    if driver == "sdk" and cell == Cell("modern", "sse", "legacy"):
        # By the answer to its probe it has learnt that it has to shake hands.
        cell = cell._replace(client="legacy")
    return Stage(cell, open_client, sees_frames=driver == "frames")


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.client == "legacy" and cell.transport == "json"], ids=str)
async def test_where_a_response_has_no_room_for_questions_they_wait_for_the_standalone_stream(
    cell: Cell, proxies: Proxies
) -> None:
    async with (
        open_frame_client(cell, proxies.url(cell), ASKABLE, listens=False) as client,
        trio.open_nursery() as nursery,
    ):
        assert isinstance(client, LegacyStreamClient)

        async def ask() -> None:
            outcome = await client.call("ask", {"rounds": [[FORM]]}, answer)
            expected = text("answered", structuredContent={"answers": [[FILLED_IN]]})
            assert outcome.result == cell.result("tools/call", expected)
            nursery.cancel_scope.cancel()

        nursery.start_soon(ask)
        await client.request("ping")
        await nursery.start(client.read_standalone)
    assert client.questions == [FORM]


def test_no_cell_is_left_out(verdicts: Verdicts, request: pytest.FixtureRequest) -> None:
    """Each feature in each cell has been tried or is refused, and all that is refused is so for a reason."""
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    chosen = {
        (str(item.callspec.params["driver"]), str(item.callspec.params["name"]))
        for item in tests
        if item.originalname == test_a_feature_crosses_or_is_refused_for_a_reason.__name__
    }
    assert verdicts.keys() == {(driver, name, cell) for driver, name in chosen for cell in CELLS_OF[driver]}
    if not request.config.option.keyword and not any("::" in argument for argument in request.config.args):
        assert chosen == set(product(DRIVERS, FEATURES))
    for driver, name, cell in verdicts:
        refusal = find_refusal(driver, name, cell)
        assert refusal is None or len(refusal.reason.split()) > 10
    for refusal in REFUSALS:
        assert any(refusal.applies(cell) for cell in CELLS)
        assert refusal.features <= FEATURES.keys()
    show(verdicts)


def show(verdicts: Verdicts) -> None:
    """Print the table (pytest -s)."""
    signs = {"crosses": "+", "refused": "-", "fails": "!", None: " "}
    for driver in DRIVERS:
        print(f"\n{driver}: + crosses, - refused, ! fails")
        for number, cell in enumerate(CELLS_OF[driver]):
            print(f"{'':48}{'| ' * number}{cell}")
        for name in FEATURES:
            print(f"{name:48}" + " ".join(signs[verdicts.get((driver, name, cell))] for cell in CELLS_OF[driver]))
    for refusal in REFUSALS:
        print(f"\n- {', '.join(sorted(refusal.features))}: {refusal.reason}.")
