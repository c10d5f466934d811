"""Which features are refused in which cells, why, and what holds all the same."""

from __future__ import annotations

from typing import Final

from tests.matrix.cells import Cell
from tests.matrix.refusals import Refusal, nothing_but_the_answer

from .scenes import a_modern_host_sees_to_it_itself, asked_as_they_come, nobody_is_asked, the_server_is_told


def find_refusal(name: str, cell: Cell) -> Refusal | None:
    """Return why a feature is refused in a cell; None where it has to cross."""
    for refusal in REFUSALS:
        if name in refusal.features and refusal.applies(cell):
            return refusal
    return None


REFUSALS: Final = [
    Refusal(
        None,
        frozenset({"several questions at once"}),
        lambda cell: cell.client == "modern" and cell.spoken == "legacy",
        "An InputRequiredResult ends its response (2026-07-28, Multi Round-Trip Requests), so that what a legacy server "
        "asks after the first question may have to wait for the next round, whoever would like to see all before an answer",
        asked_as_they_come,
    ),
    Refusal(
        None,
        frozenset({"questions while another call runs"}),
        lambda cell: cell.client == "modern" and cell.spoken == "legacy" and cell.transport != "stream",
        "README, What does not cross: questions of a legacy server while several calls of a modern client are running are "
        "refused with -32601, since nothing says who would be asked; here all comes on one stream",
        nobody_is_asked,
    ),
    Refusal(
        None,
        frozenset({"progress", "logs"}),
        lambda cell: cell.spoken == "modern" and cell.transport == "json",
        'Of a modern server "a single JSON object" (2026-07-28, Streamable HTTP §Sending Messages, 6) has no room for '
        'notifications, which "flow only on the response stream of the request they relate to" (§Receiving Messages)',
        nothing_but_the_answer,
    ),
    Refusal(
        None,
        frozenset({"questions outside any call", "roots that change"}),
        lambda cell: cell.spoken == "modern",
        'Of a modern server nobody expects any: "The server MUST NOT write JSON-RPC requests to stdout" (2026-07-28, stdio)',
    ),
    Refusal(
        None,
        frozenset({"questions outside any call"}),
        lambda cell: cell.client == "modern" and cell.spoken == "legacy",
        'To a modern client questions come "embedded as input requests inside an InputRequiredResult" (2026-07-28, '
        "Streamable HTTP §Receiving Messages), and outside any call there is no result",
        the_server_is_told,
    ),
    Refusal(
        None,
        frozenset({"roots that change"}),
        lambda cell: cell.is_translated,
        "README, What does not cross: notifications/roots/list_changed between the eras is dropped, the other era has none",
    ),
    Refusal(
        None,
        frozenset({"questions beyond what is declared"}),
        lambda cell: cell.client == cell.spoken == "modern",
        '"Servers MUST NOT send an inputRequests that the client has not declared support for" (2026-07-28, Multi '
        "Round-Trip Requests); it is theirs to obey, bytes pass as they are, and this host refuses such a question itself",
        a_modern_host_sees_to_it_itself,
    ),
]
