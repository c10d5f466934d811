"""The handshake: what it answers, which revision it agrees on, and what comes of it (Lifecycle, up to 2025-11-25)."""

from __future__ import annotations

from typing import Any

from ..conversation import LEGACY, Call, HttpCall, Session, SseSession, initialize_request, is_request
from ..trial import Trial, check

NO_REVISION = "1999-12-31"


async def _initialize(trial: Trial, revision: str) -> Call:
    """Make an `initialize` for any revision, over what carries the one of the trial."""
    if trial.revision == "2024-11-05":
        async with trial.sse(handshake=False) as old, old.open(initialize_request(revision)) as sse_call:
            return await sse_call.finish()
    session = Session(trial.wire, trial.revision)
    async with session.open(initialize_request(revision)) as call:
        await call.finish()
        session.session_id = call.reply.headers.get("mcp-session-id")
    if session.session_id:
        await session.end()
    return call


@check()
async def initialize_is_answered_with_capabilities_and_information(trial: Trial) -> None:
    """The result has `protocolVersion`, `capabilities`, and `serverInfo` with a name and a version."""
    result = (await _initialize(trial, trial.revision)).result
    trial.expect(isinstance(result.get("protocolVersion"), str), "protocolVersion, a string", result)
    trial.expect(isinstance(result.get("capabilities"), dict), "capabilities, an object", result)
    information = result.get("serverInfo")
    named = isinstance(information, dict) and all(isinstance(information.get(one), str) for one in ("name", "version"))
    trial.expect(named, "serverInfo with a name and a version", result)


@check()
async def a_revision_that_is_offered_is_agreed_to(trial: Trial) -> None:
    """The revision that the server names when asked for one that nobody knows, it agrees to when asked for that."""
    offered = _offers(await _initialize(trial, NO_REVISION))
    for revision in [trial.revision, *(revision for revision in offered if revision in LEGACY)]:
        agreed = (await _initialize(trial, revision)).result.get("protocolVersion")
        trial.expect(agreed == revision, f"the revision {revision}, since it was asked for", agreed)


@check()
async def another_revision_is_offered_for_one_that_is_not_supported(trial: Trial) -> None:
    """Asked for a revision that nobody knows, a server names one that it does know.

    The page shows an error as well, with those that are supported in its data; that is accepted, too.
    """
    call = await _initialize(trial, NO_REVISION)
    offered = _offers(call)
    trial.expect(bool(offered) and NO_REVISION not in offered, f"a revision other than {NO_REVISION}", call.response)


@check()
async def the_latest_revision_is_offered(trial: Trial) -> None:
    """What is named in place of an unknown revision is the latest that has a handshake and that the server speaks."""
    offered = _offers(await _initialize(trial, NO_REVISION))
    spoken = [revision for revision in trial.survey.also_speaks if revision in LEGACY]
    trial.expect(bool(offered) and max(offered) >= max(spoken), f"the revision {max(spoken)} or later", offered)


def _offers(call: Call) -> list[str]:
    response = call.response or {}
    if isinstance(response.get("result"), dict):
        return [str(response["result"].get("protocolVersion"))]
    error: Any = response.get("error")
    data = error.get("data") if isinstance(error, dict) else None
    supported = data.get("supported") if isinstance(data, dict) else None
    return [str(revision) for revision in supported or []]


@check()
async def nothing_is_asked_before_initialized(trial: Trial) -> None:
    """Until `notifications/initialized` has come, a server asks nothing but pings."""
    everything = {"elicitation": {}, "sampling": {}, "roots": {"listChanged": True}}
    if trial.revision == "2024-11-05":
        async with trial.sse(everything, initialized=False) as old:
            with trial.waiting():
                while await old.next_message() is not None:
                    pass
            heard = old.heard
    else:
        async with trial.session(everything, initialized=False) as session, session.listen() as reply:
            call = HttpCall({}, reply)
            with trial.waiting():
                while reply.is_stream and await call.next_message() is not None:
                    pass
            heard = call.seen
    asked = [message for message in heard if is_request(message) and message["method"] != "ping"]
    trial.expect(not asked, "no request but pings", asked)


@check(needs=("asks",))
async def only_declared_capabilities_are_used(trial: Trial) -> None:
    """A client that has declared nothing is asked nothing, even by a tool whose business it is to ask."""
    recipe = trial.tool("asks")
    async with trial.talk() as talk, talk.open(talk.request("tools/call", recipe.params)) as call:
        while call.response is None and (message := await call.next_message()) is not None:
            # Waiting for the rest would be waiting for our own answer.
            trial.expect(not is_request(message), "no request", message)
        trial.expect(call.response is not None, "a response", call.seen)


@check()
async def capabilities_that_are_declared_are_there(trial: Trial) -> None:
    """What a server has declared in its handshake can be asked for."""
    methods = {"tools": "tools/list", "prompts": "prompts/list", "resources": "resources/list"}
    async with trial.talk() as talk:
        trial.expect(isinstance(talk, Session | SseSession), "a session", talk)
        for capability, method in methods.items():
            if capability in talk.capabilities:
                response = (await talk.ask(method)).response or {}
                declared = f"a result for {method}, since {capability} is declared"
                trial.expect(isinstance(response.get("result"), dict), declared, response)
