"""The cells of the matrix, and the stage on which a feature is tried in one of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, NamedTuple

from .offers import CACHEABLE, CACHED, PREFIX, SERVER_INFO

Era = Literal["legacy", "modern"]
Transport = Literal["stream", "json", "sse"]
ChildEra = Literal["legacy", "modern", "dual"]


class Cell(NamedTuple):
    """Who talks to whom, and over what.

    Attributes:
      transport: Streamable HTTP that answers with streams, the same with `--json-response`, or HTTP+SSE.
    """

    client: Era
    transport: Transport
    child: ChildEra

    def __str__(self) -> str:
        return f"{self.client}-{self.transport}-{self.child}"

    @property
    def spoken(self) -> Era:
        """What the child speaks here; one that speaks both is spoken to as the client speaks."""
        return self.client if self.child == "dual" else self.child

    @property
    def is_translated(self) -> bool:
        """Whether client and child are of different eras."""
        return self.client != self.spoken

    def result(self, method: str, result: dict[str, Any]) -> dict[str, Any]:
        """Return what a client gets to see of a result that in both eras says the same.

        2026-07-28 wants a resultType in each, and caching hints in some (Basic §Responses, Caching); a client of before is
        not told of either.  A server of then says in each who it is, which nobody minds.
        """
        if self.client == "modern":
            result = {"resultType": "complete", **result}
            if method in CACHEABLE:
                result |= CACHED[self.spoken]
        if "modern" in (self.client, self.spoken):
            result = {**result, "_meta": {**result.get("_meta", {}), PREFIX + "serverInfo": SERVER_INFO}}
        return result


CELLS = [
    Cell(client, transport, child)
    for client in ("legacy", "modern")
    for transport in ("stream", "json", "sse")
    for child in ("legacy", "modern", "dual")
]


class Stage(NamedTuple):
    """Where a feature is tried.

    Attributes:
      open_client: with the capabilities that it declares, for as long as the block runs.
      sees_frames: whether its client reads and writes every frame itself.
    """

    cell: Cell
    open_client: Callable[..., AbstractAsyncContextManager[Any]]
    sees_frames: bool
