"""JSON-RPC, whatever carries it: ids, results and errors, UTF-8 (Basic §Messages, Transports)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..conversation import ASKABLE, MODERN, Call, Conversation, Message, is_request, is_response
from ..survey import TEXT
from ..trial import Trial, check

UNKNOWN_METHOD = "conformance/no-such-method"


async def _ask_around(trial: Trial, talk: Conversation) -> list[Call]:
    """A request that succeeds, one that fails, and one that reports progress if there is any."""
    calls = [await talk.ask("tools/list"), await talk.ask(UNKNOWN_METHOD)]
    if recipe := trial.survey.find("progress"):
        calls.append(await talk.ask("tools/call", recipe.params, token="around"))
    return calls


async def _next_response(call: Call) -> Message | None:
    """The first response that comes, whichever request it says that it answers."""
    while (message := await call.next_message()) is not None and not is_response(message):
        pass
    return message


@check()
async def messages_are_json_rpc(trial: Trial) -> None:
    """Every message says that it is JSON-RPC 2.0, and is a request, a notification or a response."""
    async with trial.talk() as talk:
        for call in await _ask_around(trial, talk):
            trial.expect(bool(call.seen), f"a message in answer to {call.request['method']}", "none")
            for message in call.seen:
                trial.expect(message.get("jsonrpc") == "2.0", '"jsonrpc": "2.0" in each message', message)
                trial.expect("method" in message or is_response(message), "a method, a result or an error", message)


@check()
async def responses_carry_the_id_of_their_request(trial: Trial) -> None:
    """The id comes back as it was sent: numbers as numbers, strings as strings, large ones unharmed."""
    async with trial.talk() as talk:
        for request_id in (7, "7", 'an id with spaces, "quotes" and 世界', 0, 2**53 - 1):
            async with talk.open(talk.request("tools/list", id=request_id)) as call:
                message = await _next_response(call)
                came = (message or {}).get("id")
                same = came == request_id and type(came) is type(request_id)
                trial.expect(same, f"a response with the id {request_id!r}", message)


@check()
async def errors_carry_the_id_of_their_request(trial: Trial) -> None:
    """An error, too, says which request it answers."""
    async with trial.talk() as talk:
        for request_id in (41, "forty-two"):
            async with talk.open(talk.request(UNKNOWN_METHOD, id=request_id)) as call:
                message = await _next_response(call)
                trial.expect((message or {}).get("id") == request_id, f"an error with the id {request_id!r}", message)


@check()
async def a_response_has_a_result_or_an_error(trial: Trial) -> None:
    """A response has one of the two, and not both; a result is an object."""
    async with trial.talk() as talk:
        for call in await _ask_around(trial, talk):
            response = call.response or {}
            trial.expect(("result" in response) != ("error" in response), "either a result or an error", response)
            trial.expect(isinstance(response.get("result", {}), dict), "a result that is an object", response)


@check()
async def errors_have_an_integer_code_and_a_message(trial: Trial) -> None:
    """What a method that nobody knows is answered with."""
    async with trial.talk() as talk:
        error = (await talk.ask(UNKNOWN_METHOD)).error
        code = error.get("code")
        trial.expect(isinstance(code, int) and not isinstance(code, bool), "an integer as code", error)
        trial.expect(isinstance(error.get("message"), str), "a string as message", error)


@check()
async def notifications_get_no_response(trial: Trial) -> None:
    """A notification is not answered with a message, even if nobody knows it."""
    async with trial.talk() as talk:
        reply = await talk.tell({"jsonrpc": "2.0", "method": "notifications/conformance/no-such-thing"})
        trial.expect(not reply.is_stream, "no stream", reply.content_type)
        body = reply.headers.get("x-body", "")
        trial.expect(reply.status >= 400 or '"result"' not in body, "no response in the body", body)
        if trial.revision == "2024-11-05":
            # Here a response would come on the stream, before that to the next request.
            call = await talk.ask("ping")
            responses = [message for message in call.seen if is_response(message)]
            trial.expect(responses == [call.response], "no response but that to the next request", responses)


@check(needs=("progress",))
async def notifications_have_no_id(trial: Trial) -> None:
    """What reports progress has no id."""
    recipe = trial.tool("progress")
    async with trial.talk() as talk:
        call = await talk.ask("tools/call", recipe.params, token="no-id")
        told = [m for m in call.seen if str(m.get("method", "")).startswith("notifications/")]
        if not told:
            trial.skip("no notification came")
        trial.expect(not any("id" in message for message in told), "notifications without an id", told)


@check(needs=("asks",))
async def requests_of_the_server_have_ids_of_their_own(trial: Trial) -> None:
    """What a server asks has an id, a string or an integer and not null, which it has not used before."""
    if trial.revision == MODERN:
        trial.skip("servers of this revision make no requests")
    recipe = trial.tool("asks")
    ids: list[Any] = []
    async with trial.talk(ASKABLE) as talk:
        for _ in range(2):
            async with talk.open(talk.request("tools/call", recipe.params)) as call:
                while call.response is None and (message := await call.next_message()) is not None:
                    if is_request(message):
                        ids.append(message["id"])
                        await talk.tell({"jsonrpc": "2.0", "id": message["id"], "result": _answer(message)})
    if not ids:
        trial.skip("the server asked nothing")
    fine = all(isinstance(one, str | int) and not isinstance(one, bool) for one in ids)
    trial.expect(fine, "strings or integers as ids", ids)
    trial.expect(len(set(map(repr, ids))) == len(ids), "an id that has not been used before", ids)


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    match request["method"]:
        case "elicitation/create":
            return {"action": "accept", "content": {"name": "Ada"}}
        case "roots/list":
            return {"roots": []}
        case "sampling/createMessage":
            return {"role": "assistant", "content": {"type": "text", "text": "Hello."}, "model": "none"}
    return {}


@check()
async def messages_are_utf_8(trial: Trial) -> None:
    """What is not ASCII arrives as it was sent, and comes back so."""
    async with trial.talk() as talk:
        if recipe := trial.survey.find("echo"):
            content = (await talk.ask("tools/call", recipe.params)).result.get("content")
            text = "".join(str(block.get("text", "")) for block in content or [] if isinstance(block, dict))
            trial.expect(TEXT in text, f"the text {TEXT!r}", text)
        # An id is echoed by every server.
        call = await talk.ask("tools/list", id=TEXT)
        trial.expect((call.response or {}).get("id") == TEXT, f"a response with the id {TEXT!r}", call.seen)
