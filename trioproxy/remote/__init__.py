"""A server at a URL as a transport: reached over HTTP, in whichever way it turns out to speak.

    async with open_remote("https://example.com/mcp") as remote:
        remote.send_nowait(message)
        messages = await remote.receive()

    remote ─┬─ dispatch             takes the client's messages in their order
            ├─ a call               one task each: its POST, and the stream that answers it
            ├─ the standing stream  what belongs to no call
            └─ the HTTP client

It is driven by what is sent through it, as a stdio server is: `initialize` makes a handshake, a request with an envelope of
2026-07-28 stands for itself.  Nothing that happens to the remote ends it.  What is lost with a connection is answered with
an error, and everything else is found again: the remote after its restart, the session after its end, the streams.

In which order do messages leave?  Requests run side by side, each from the moment in which it is sent; what is sent after a
notification waits until that has arrived; a cancellation waits for the request that it is about.
"""

from __future__ import annotations

from .remote import Remote, open_remote
from .settings import RemoteConfig, SignInConfig

__all__ = ["Remote", "RemoteConfig", "SignInConfig", "open_remote"]
