"""Whose requests are answered at all (Transports §Security Warning, every revision)."""

from __future__ import annotations

import socket
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import trio

from ..conversation import MODERN, Requests, Session, initialize_request, open_sse_session
from ..trial import Trial, check
from ..wire import Reply, encode

FOREIGN_ORIGINS = ("http://evil.example", "https://evil.example:8443", "http://localhost.evil.example", "null")


def _open(trial: Trial, method: str, origin: str) -> AbstractAsyncContextManager[Reply]:
    """A request that would be served, but for its origin."""
    if method != "POST":
        return trial.wire.open(method, {"accept": "text/event-stream", "origin": origin})
    if trial.revision == MODERN:
        talk = Requests(trial.wire)
        message = talk.request("server/discover")
        return trial.wire.open("POST", talk.headers(message, origin=origin), encode(message))
    headers = Session(trial.wire, trial.revision).headers(origin=origin)
    return trial.wire.open("POST", headers, encode(initialize_request(trial.revision)))


@check()
async def a_foreign_origin_is_refused(trial: Trial) -> None:
    """A request from a page of somebody else's is refused; since 2025-11-25 with 403.

    Before that the specification does not say how, so that any refusal will do.
    """
    wanted = (403,) if trial.revision >= "2025-11-25" else tuple(range(400, 500))
    named = "403" if trial.revision >= "2025-11-25" else "a status of 400 to 499"
    for origin in FOREIGN_ORIGINS[:-1]:
        methods = ("GET",) if trial.revision == "2024-11-05" else ("POST",)
        for method in methods:
            async with _open(trial, method, origin) as reply:
                trial.expect(reply.status in wanted, f"{named} for a {method} with Origin: {origin}", reply.status)


@check()
async def a_foreign_origin_is_refused_within_a_session(trial: Trial) -> None:
    """All incoming connections are looked at, not only those that open something."""
    wanted = (403,) if trial.revision >= "2025-11-25" else tuple(range(400, 500))
    origin = FOREIGN_ORIGINS[0]
    if trial.revision == "2024-11-05":
        async with open_sse_session(trial.wire) as old:
            reply = await old.tell({"jsonrpc": "2.0", "id": 9, "method": "ping"}, origin=origin)
            trial.expect(reply.status in wanted, f"a refusal of a POST with Origin: {origin}", reply.status)
        return
    async with trial.session() as session:
        async with session.open(session.request("ping"), origin=origin) as call:
            trial.expect(call.reply.status in wanted, f"a refusal of a POST with Origin: {origin}", call.reply.status)
        async with session.listen(origin=origin) as reply:
            # Who offers no stream may say so before looking at anything.
            fine = reply.status in (*wanted, 405)
            trial.expect(fine, f"a refusal of a GET with Origin: {origin}", reply.status)


@check()
async def a_local_server_is_bound_to_localhost_only(trial: Trial) -> None:
    """A server on a loopback address cannot be reached at the other addresses of this machine."""
    address = trial.wire.address
    if not address.is_loopback:
        trial.skip("the endpoint isn't on a loopback address of this machine")
    if address.host not in ("localhost", "127.0.0.1"):
        trial.skip("the endpoint isn't on 127.0.0.1")
    for host in _other_addresses():
        try:
            with trio.move_on_after(trial.patience):
                stream = await trial.wire.dial(replace(address, host=host, scheme="http"))
                await trio.aclose_forcefully(stream)
                trial.expect(False, f"nobody at {host}:{address.port}", "a connection")
        except OSError:
            continue


def _other_addresses() -> list[str]:
    """Addresses at which a server that listens everywhere would be reached, too."""
    # All of 127/8 is this machine, and a socket bound to 127.0.0.1 hears nothing of the rest.
    addresses = ["127.0.0.2"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: it only asks which address would be sent from.
            probe.connect(("192.0.2.1", 9))
            addresses.append(str(probe.getsockname()[0]))
        except OSError:
            pass
    return [one for one in addresses if one != "127.0.0.1"]
