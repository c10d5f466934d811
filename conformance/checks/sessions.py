"""Sessions, their ids and their end (Transports §Session Management; 2025-03-26 to 2025-11-25).

Over HTTP with SSE a session is known by the URI to which its messages go, and what is said of ids holds for that (Security
Best Practices).
"""

from __future__ import annotations

import itertools
from dataclasses import replace

from ..conversation import Session
from ..trial import Trial, check

MANY = 6
SHORTEST = 16
"""Characters that hold 64 bits in hexadecimal: less could be guessed."""


def _session_id(trial: Trial, session: Session) -> str:
    if session.session_id is None:
        trial.skip("the server assigns no session ids, which it need not")
    return session.session_id


async def _session_ids(trial: Trial) -> list[str]:
    ids = []
    for _ in range(MANY):
        if trial.revision == "2024-11-05":
            async with trial.sse(handshake=False) as old:
                ids.append(old.endpoint.address.target)
            continue
        async with trial.session() as session:
            ids.append(_session_id(trial, session))
    return ids


@check()
async def a_session_id_is_visible_ascii(trial: Trial) -> None:
    """Only characters from 0x21 to 0x7E are in it."""
    async with trial.session() as session:
        session_id = _session_id(trial, session)
        fine = bool(session_id) and all(0x21 <= ord(character) <= 0x7E for character in session_id)
        trial.expect(fine, "characters from 0x21 to 0x7E", repr(session_id))


@check()
async def session_ids_are_unique(trial: Trial) -> None:
    """No two sessions have the same id."""
    ids = await _session_ids(trial)
    trial.expect(len(set(ids)) == len(ids), f"{MANY} ids that differ", ids)


@check()
async def session_ids_cannot_be_guessed(trial: Trial) -> None:
    """An id is long, and one does not follow from another.

    What a good source of randomness was cannot be seen; a counter, a time of day and a short number can.
    """
    ids = await _session_ids(trial)
    trial.expect(all(len(one) >= SHORTEST for one in ids), f"ids of {SHORTEST} characters or more", ids)
    for one, other in itertools.pairwise(ids):
        differing = sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))
        trial.expect(differing >= SHORTEST // 2, "ids that differ in many places", [one, other])


@check()
async def a_request_without_a_session_id_gets_400(trial: Trial) -> None:
    """Where there are session ids, a request without one is a bad request."""
    async with trial.session() as session:
        _session_id(trial, session)
        async with session.open(session.request("tools/list"), mcp_session_id="") as call:
            if call.reply.status == 200:
                trial.skip("the server does not require a session id")
            trial.expect(call.reply.status == 400, "400 for a request without Mcp-Session-Id", call.reply.status)


@check()
async def an_ended_session_is_not_found(trial: Trial) -> None:
    """Once a session has ended, POST and GET with its id get 404."""
    async with trial.session() as session:
        _session_id(trial, session)
        status = await session.end()
        if status >= 300:
            trial.skip(f"a client may not end a session here: {status}")
        async with session.open(session.request("tools/list")) as call:
            trial.expect(call.reply.status == 404, "404 for a POST after the end of its session", call.reply.status)
        async with session.listen() as reply:
            fine = reply.status in (404, 405)
            trial.expect(fine, "404 for a GET after the end of its session", reply.status)


@check()
async def a_session_is_no_authentication(trial: Trial) -> None:
    """Where credentials are asked for, the id of a session does not take their place."""
    if dict(trial.anonymous.headers) == dict(trial.wire.headers):
        trial.skip("the endpoint was not given any credentials (--header)")
    if trial.revision == "2024-11-05":
        async with trial.sse() as old:
            old.endpoint = replace(old.endpoint, headers=trial.anonymous.headers)
            reply = await old.tell({"jsonrpc": "2.0", "id": 9, "method": "ping"})
            trial.expect(reply.status in (401, 403, 404), "401 for a session without the credentials", reply.status)
        return
    async with trial.session() as session:
        _session_id(trial, session)
        stranger = Session(trial.anonymous, trial.revision)
        stranger.session_id, stranger.initialize_reply = session.session_id, session.initialize_reply
        async with stranger.open(session.request("tools/list")) as call:
            fine = call.reply.status in (401, 403, 404)
            trial.expect(fine, "401 for a session id without the credentials", call.reply.status)
