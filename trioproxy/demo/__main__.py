"""The pipes and the clock: `python -m trioproxy.demo`.

One thread waits for whichever comes first, a line or the end of a call's pause.  The process ends when its input does,
which is how a stdio client says goodbye, and when it is told to.  Output blocks while nobody reads it, and with it all
the rest: a client that doesn't listen isn't served.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

from .server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .calls import Json

STDIN, STDOUT = 0, 1
# What Linux keeps in a pipe.
CHUNK = 64 * 1024


def main() -> None:
    # `sys.exit` unwinds from wherever we are, without a traceback; half a message may remain in the pipe, for a reader
    # who is about to go as well.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        relay(Server())
    except ConnectionError:
        # EPIPE, or a reset where the pipes are sockets: the client has gone without closing our input first.
        return


def relay(server: Server) -> None:
    """Hand lines from stdin to the server, and what it says to stdout, until stdin ends."""
    unfinished = bytearray()
    while True:
        ready, _, _ = select.select([STDIN], [], [], server.seconds_to_wait(time.monotonic()))
        if ready:
            chunk = os.read(STDIN, CHUNK)
            if not chunk:
                # A line without its newline was cut short, so it's no message.
                return
            unfinished += chunk
            # Splitting at every chunk would copy a long line again and again.
            if b"\n" in chunk:
                *lines, unfinished = unfinished.split(b"\n")
                for line in lines:
                    if line.strip():
                        write(server.receive(bytes(line), time.monotonic()))
        write(server.wake(time.monotonic()))


def write(messages: list[Json]) -> None:
    for message in messages:
        # ASCII, so that nothing in a string can be a newline to any reader or fail to encode.
        line = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        while line:
            line = line[os.write(STDOUT, line) :]


if __name__ == "__main__":
    main()
