"""The server of these tests on a port of its own: `python -m tests.conformance.wrong.served PORT [FAULT | crash | hang]`.

With `crash` it exits when it is pinged, with `hang` it answers nobody from then on.
"""

from __future__ import annotations

import os
import sys

import trio

from . import World
from .http import Exchange


class Doomed(World):
    """A server that a ping is the end of."""

    how: str
    has_hung = False

    async def _handle(self, x: Exchange) -> None:
        if b'"ping"' in x.body and self.how == "crash":
            print("pinged to death", file=sys.stderr, flush=True)
            os._exit(3)
        self.has_hung = self.has_hung or (b'"ping"' in x.body and self.how == "hang")
        if self.has_hung:
            await trio.sleep_forever()
        await super()._handle(x)


async def main(port: int, how: str) -> None:
    """Serve until the process is ended."""
    async with trio.open_nursery() as nursery:
        world = Doomed(nursery, faults={how})
        world.how = how
        await trio.serve_tcp(world.serve, port, host="127.0.0.1")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
