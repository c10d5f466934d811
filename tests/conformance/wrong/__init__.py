"""A server of every revision that does all things right, but for the one thing that it is told to do wrong.

    world = World(faults={"ping.a-ping-is-answered-promptly-with-nothing"})
    await world.serve(stream)

A fault has the name of the check that has to notice it.  There is nothing in here of the checks' own code, nor of the
proxy's: three readings of the specification that agree are worth more than one.

    http             requests in, responses and streams out
    tools            what the server offers, for either era
    sessions         the revisions with a handshake, whatever carries them
    streamable_http  what carries them since 2025-03-26
    http_sse         what did before
    requests         the revision without
    world            which of them a request is for
"""

from .world import World

__all__ = ("World",)
