"""What each request of 2026-07-28 has to say, and each result (Basic §`_meta`, §Responses, Versioning; Streamable HTTP)."""

from __future__ import annotations

import json
from typing import Any

from ..conversation import ASKABLE, MODERN, NAMED_BY, RESERVED, Call, HttpCall, Message, Requests, initialize_request
from ..conversation import is_request as is_from_server
from ..trial import Trial, check
from ..wire import encode


async def _refused(trial: Trial, message: Message, status: int, code: int, why: str, **headers: str) -> Message:
    """Expect an HTTP status and an error code for a message, and return the error."""
    async with trial.requests().open(message, **headers) as call:
        await call.finish()
        came = f"{call.reply.status} {json.dumps(call.response)}"
        trial.expect(call.reply.status == status, f"{status} and {code} for {why}", came)
        trial.expect(call.response is not None, f"an error with the id {message.get('id')!r} for {why}", call.seen)
        trial.expect(call.error.get("code") == code, f"{status} and {code} for {why}", came)
        return call.error


@check()
async def a_missing_field_is_refused(trial: Trial) -> None:
    """A request without `protocolVersion` or `clientCapabilities` in its `_meta` gets 400 and -32602."""
    for name in ("protocolVersion", "clientCapabilities"):
        message = trial.requests().request("tools/list")
        del message["params"]["_meta"][RESERVED + name]
        await _refused(trial, message, 400, -32602, f"a request without {name}")


@check()
async def an_unsupported_version_is_refused_with_those_that_are(trial: Trial) -> None:
    """A version that nobody knows gets 400 and -32022, with the versions that are supported."""
    message = trial.requests().request("tools/list")
    message["params"]["_meta"][RESERVED + "protocolVersion"] = "1999-12-31"
    why = "a version that nobody knows"
    error = await _refused(trial, message, 400, -32022, why, mcp_protocol_version="1999-12-31")
    data = error.get("data") if isinstance(error.get("data"), dict) else {}
    assert isinstance(data, dict)
    trial.expect(MODERN in (data.get("supported") or []), f"{MODERN} in data.supported", error)
    trial.expect(data.get("requested") == "1999-12-31", "the version in data.requested", error)


@check()
async def an_unknown_method_is_refused_with_404(trial: Trial) -> None:
    """A method that nobody knows gets 404 and -32601."""
    await _refused(trial, trial.requests().request("conformance/no-such-method"), 404, -32601, "an unknown method")


@check()
async def results_have_a_type(trial: Trial) -> None:
    """Each result says which type it is of."""
    for call in await _some_results(trial):
        kind = call.result.get("resultType")
        trial.expect(isinstance(kind, str), f"a resultType in the result of {call.request['method']}", call.result)


@check()
async def result_types_are_known(trial: Trial) -> None:
    """Without an extension a result is either `complete` or `input_required`."""
    for call in await _some_results(trial):
        kind = call.result.get("resultType", "complete")
        trial.expect(kind in ("complete", "input_required"), "complete or input_required", kind)


@check()
async def results_name_the_server(trial: Trial) -> None:
    """Each result names the server in its `_meta`."""
    for call in await _some_results(trial):
        information = (call.result.get("_meta") or {}).get(RESERVED + "serverInfo")
        fine = isinstance(information, dict) and {"name", "version"} <= set(information)
        trial.expect(fine, f"serverInfo in the _meta of the result of {call.request['method']}", call.result)


async def _some_results(trial: Trial) -> list[Call]:
    talk = trial.requests()
    calls = [await talk.ask("server/discover"), await talk.ask("tools/list")]
    if recipe := trial.survey.find("quick"):
        calls.append(await talk.ask("tools/call", recipe.params))
    if trial.survey.find("asks"):
        calls.append(await trial.requests(ASKABLE).ask("tools/call", trial.tool("asks").params))
    return calls


@check()
async def codes_of_the_past_are_not_used(trial: Trial) -> None:
    """Neither -32002 nor -32042 is sent, nor any code from -32099 to -32020 without a meaning."""
    for call in await _some_errors(trial):
        code = call.error.get("code")
        trial.expect(code not in (-32002, -32042), "a code of this revision", call.error)
        reserved = isinstance(code, int) and -32099 <= code <= -32020
        trial.expect(not reserved or code in (-32020, -32021, -32022), "a code that is defined", call.error)


@check()
async def codes_of_implementations_are_not_used(trial: Trial) -> None:
    """No code from -32019 to -32000 is sent: what they mean nobody can say."""
    for call in await _some_errors(trial):
        code = call.error.get("code")
        trial.expect(not (isinstance(code, int) and -32019 <= code <= -32000), "a code with a meaning", call.error)


async def _some_errors(trial: Trial) -> list[Call]:
    talk = trial.requests()
    calls = [await talk.ask("conformance/no-such-method"), await talk.ask("tools/call", {"name": "no such tool"})]
    if "resources" in trial.survey.capabilities:
        calls.append(await talk.ask("resources/read", {"uri": "conformance://no-such-resource"}))
    if "prompts" in trial.survey.capabilities:
        calls.append(await talk.ask("prompts/get", {"name": "no such prompt"}))
    # An unknown tool may be a result that says so.
    return [call for call in calls if "error" in (call.response or {})]


@check()
async def protocol_errors_are_errors(trial: Trial) -> None:
    """What is malformed is answered with a JSON-RPC error."""
    talk = trial.requests()
    for method, params in (("tools/call", {"name": 5}), ("tools/call", {}), ("tools/list", {"cursor": {}})):
        call = await talk.ask(method, params)
        if method == "tools/list" and "result" in (call.response or {}):
            continue
        trial.expect("error" in (call.response or {}), f"an error for {method} with {params}", call.response)


@check()
async def each_request_stands_alone(trial: Trial) -> None:
    """On one connection each request counts for itself: its version, its capabilities, its client."""
    asks = trial.survey.find("asks")
    async with trial.wire.connect() as connection:

        async def ask(message: Message, **headers: str) -> HttpCall:
            given = trial.requests().headers(message, **headers)
            call = HttpCall(message, await connection.send("POST", given, encode(message)))
            while await call.next_message() is not None:
                pass
            return call

        first = await ask(trial.requests().request("tools/list"))
        trial.expect("result" in (first.response or {}), "a result", first.response)
        if asks is not None:
            able = await ask(trial.requests(ASKABLE).request("tools/call", asks.params))
            trial.expect("result" in (able.response or {}), "a result", able.response)
            unable = await ask(trial.requests().request("tools/call", asks.params))
            asked = ((unable.response or {}).get("result") or {}).get("inputRequests")
            trial.expect(not asked, "no question to who declares nothing, whoever asked before", asked)
        strange = trial.requests().request("tools/list")
        strange["params"]["_meta"][RESERVED + "protocolVersion"] = "1999-12-31"
        refused = await ask(strange, mcp_protocol_version="1999-12-31")
        trial.expect("error" in (refused.response or {}), "an error for another version", refused.response)
        # A request that says nothing can't lean on those before it.
        silent: Message = {"jsonrpc": "2.0", "id": "silent", "method": "tools/list", "params": {}}
        mute = await ask(silent)
        trial.expect("error" in (mute.response or {}), "an error for a request without _meta", mute.response)
        last = await ask(trial.requests().request("tools/list"))
        trial.expect("result" in (last.response or {}), "a result, whatever was refused before", last.response)


@check()
async def connections_do_not_matter(trial: Trial) -> None:
    """What was asked on one connection can be gone on with on another."""
    talk = trial.requests()
    for _ in range(3):
        async with trial.wire.connect() as connection:
            message = talk.request("tools/list")
            call = HttpCall(message, await connection.send("POST", talk.headers(message), encode(message)))
            await call.finish()
            trial.expect("result" in (call.response or {}), "a result on a connection of its own", call.response)


@check(needs=("asks",))
async def a_capability_that_is_missing_is_named(trial: Trial) -> None:
    """A call that can't do without what its client has not declared gets 400 and -32021, which says what is missing."""
    message = trial.requests().request("tools/call", trial.tool("asks").params)
    error = await _refused(trial, message, 400, -32021, "a call whose tool asks what the client can't be asked")
    data = error.get("data") if isinstance(error.get("data"), dict) else {}
    assert isinstance(data, dict)
    named = data.get("requiredCapabilities")
    trial.expect(isinstance(named, dict) and "elicitation" in named, "data.requiredCapabilities.elicitation", error)


@check()
async def a_server_makes_no_requests(trial: Trial) -> None:
    """No stream carries a request of the server's, not even that of a tool which asks."""
    talk = trial.requests(ASKABLE)
    recipes = filter(None, (trial.survey.find(kind) for kind in ("asks", "progress")))
    calls = [await talk.ask("tools/list"), *[await talk.ask("tools/call", one.params, token="asked") for one in recipes]]
    asked = [message for call in calls for message in call.seen if is_from_server(message)]
    trial.expect(not asked, "no request", asked)


@check(needs=("progress",))
async def a_server_cancels_nothing(trial: Trial) -> None:
    """`notifications/cancelled` is for the end of a subscription, and comes for nothing else."""
    call = await trial.requests().ask("tools/call", trial.tool("progress").params, token="uncancelled")
    trial.expect(not call.notifications("notifications/cancelled"), "no notifications/cancelled", call.seen)


@check()
async def what_only_older_clients_send_is_ignored(trial: Trial) -> None:
    """A session id and an event id change nothing, and no session id is given."""
    async with trial.requests().open(
        trial.requests().request("tools/list"), mcp_session_id="no-such-session", last_event_id="no-such-event"
    ) as call:
        await call.finish()
        trial.expect("result" in (call.response or {}), "a result", call.response)
        minted = call.reply.headers.get("mcp-session-id")
        trial.expect(minted is None, "no Mcp-Session-Id", minted)


@check()
async def get_and_delete_are_not_allowed(trial: Trial) -> None:
    """A server of this revision alone answers GET and DELETE with 405."""
    _only_modern(trial)
    for method in ("GET", "DELETE"):
        async with trial.wire.open(method, {"accept": "text/event-stream"}) as reply:
            trial.expect(reply.status == 405, f"405 for {method}", reply.status)


@check()
async def initialize_is_answered_with_the_versions_that_are_supported(trial: Trial) -> None:
    """A server of this revision alone tells who comes with a handshake what it speaks."""
    _only_modern(trial)
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    async with trial.wire.open("POST", headers, encode(initialize_request("2025-11-25"))) as reply:
        body = (await reply.body()).decode(errors="replace")
        is_error = reply.status >= 400 or '"error"' in body
        trial.expect(is_error and MODERN in body, f"an error that names {MODERN}", f"{reply.status} {body}")


def _only_modern(trial: Trial) -> None:
    if trial.survey.also_speaks != (MODERN,):
        trial.skip("the server speaks earlier revisions as well")


@check()
async def only_three_methods_ask_for_input(trial: Trial) -> None:
    """What is no tools/call, prompts/get or resources/read asks for no input."""
    talk: Requests = trial.requests(ASKABLE)
    methods = ["server/discover", "tools/list"]
    methods += ["prompts/list"] if "prompts" in trial.survey.capabilities else []
    methods += ["resources/list", "resources/templates/list"] if "resources" in trial.survey.capabilities else []
    assert not set(methods) & set(NAMED_BY)
    for method in methods:
        response: Any = (await talk.ask(method)).response or {}
        kind = (response.get("result") or {}).get("resultType")
        trial.expect(kind != "input_required", f"no input_required for {method}", response)


@check(needs=("progress",))
async def streams_are_not_buffered(trial: Trial) -> None:
    """The head of a stream has `X-Accel-Buffering: no`."""
    talk = trial.requests()
    async with talk.open(talk.request("tools/call", trial.tool("progress").params, token="buffering")) as call:
        if not call.reply.is_stream:
            trial.skip("the request was answered with JSON, and no stream was opened")
        value = call.reply.headers.get("x-accel-buffering")
        trial.expect(value == "no", "X-Accel-Buffering: no", value)
