"""Many modern requests over one transport: what each of them meets with, whatever the others do.

The server is a memory transport, and the clock jumps.  Quotations are from 2026-07-28.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioproxy import call as call_module
from trioproxy import multiplex as multiplex_module
from trioproxy.call import Call
from trioproxy.config import ChildConfig, Config, LimitConfig, TimeConfig
from trioproxy.multiplex import Multiplex
from trioproxy.protocol.errors import ChildExited, ShuttingDown, Unavailable
from trioproxy.protocol.lines import OversizedLine

from .memory_transport import MemoryTransport
from .modern import ASKABLE, SUBSCRIPTION_ID, listen, parse, request, tool_call
from .puppet import log, notification, progress, response


class Talk:
    """A multiplex, its clients and its server."""

    def __init__(self, multiplex: Multiplex, server: MemoryTransport, config: Config) -> None:
        self.multiplex = multiplex
        self.server = server
        self.config = config

    def call(self, message: Any, *, only_answer: bool = False) -> Call:
        """Send a request; to leave the block of the `Call` is what a client does that closes its response."""
        call = Call(*parse(message), self.config, only_answer=only_answer)
        self.multiplex.attach(call)
        return call

    async def hear_id(self) -> int:
        """Return the id of the next request that reaches the server."""
        number: int = (await self.server.hear())["id"]
        return number

    async def say(self, *messages: Any) -> None:
        """Let the server say messages, and wait until they have been dealt with."""
        self.server.say(*messages)
        await wait_all_tasks_blocked()


@asynccontextmanager
async def open_multiplex(
    *, idle_limit: float | None = None, times: Mapping[str, Any] = {}, **limits: Any
) -> AsyncIterator[Talk]:
    """Run a multiplex that ends with the block, if not before."""
    config = Config(ChildConfig(("server",)), times=TimeConfig(**times), limits=LimitConfig(**limits))
    server = MemoryTransport()
    multiplex = Multiplex(server, idle_limit=idle_limit)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(multiplex.run)
        yield Talk(multiplex, server, config)
        multiplex.close(ChildExited("the test is over"))


async def read_raw(call: Call) -> list[bytes]:
    """Return what a client gets, to the end of its response."""
    messages: list[bytes] = []
    while not call.is_at_end:
        messages += (await call.read())[1]
    return messages


async def read(call: Call) -> list[Any]:
    """Return what a client gets, to the end of its response."""
    return [json.loads(message) for message in await read_raw(call)]


def stamped(method: str, subscription: int | str, **params: Any) -> dict[str, Any]:
    """Return a notification that belongs to a subscription."""
    return notification(method, _meta={SUBSCRIPTION_ID: subscription}, **params)


def acknowledged(subscription: int | str, **honoured: Any) -> dict[str, Any]:
    return stamped("notifications/subscriptions/acknowledged", subscription, notifications=honoured)


# Ids and tokens


async def test_two_clients_may_use_the_same_id_at_the_same_time(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(request("tools/list", 7)) as one, talk.call(request("tools/list", 7)) as two:
            first, second = await talk.hear_id(), await talk.hear_id()
            assert first != second
            await talk.say(response(second, of="two"), response(first, of="one"))
            assert await read(one) == [response(7, of="one")]
            assert await read(two) == [response(7, of="two")]


@pytest.mark.parametrize("request_id", [1, "1", 0, -5, 10**30, "", 'a "quoted" id', "\N{SNOWMAN}", "\ud83d"])
async def test_an_id_is_restored_with_its_type(request_id: int | str, autojump_clock: MockClock) -> None:
    """Basic §Responses: "MUST include the same ID as the request"."""
    async with open_multiplex() as talk:
        with talk.call(request("tools/list", request_id)) as call:
            await talk.say(response(await talk.hear_id()))
            (answer,) = await read(call)
            assert answer == response(request_id)
            assert type(answer["id"]) is type(request_id)


async def test_two_clients_may_use_the_same_progress_token_at_the_same_time(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(tool_call("count", 1, token="t")) as one, talk.call(tool_call("count", 1, token="t")) as two:
            tokens = [(await talk.server.hear())["params"]["_meta"]["progressToken"] for _ in range(2)]
            assert tokens[0] != tokens[1]
            await talk.say(progress(tokens[1], 1), progress(tokens[0], 2), progress(tokens[1], 3))
            assert [json.loads(m) for m in (await one.read())[1]] == [progress("t", 2)]
            assert [json.loads(m) for m in (await two.read())[1]] == [progress("t", 1), progress("t", 3)]


@pytest.mark.parametrize("token", [5, "5", 10**30, "\ud83d"])
async def test_a_progress_token_is_restored_with_its_type(token: int | str, autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(tool_call("count", token=token)) as call:
            ours = (await talk.server.hear())["params"]["_meta"]["progressToken"]
            await talk.say(progress(ours))
            (message,) = (await call.read())[1]
            assert json.loads(message) == progress(token)


async def test_progress_that_nobody_has_asked_for_is_dropped(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(tool_call("count")) as call:
            number = await talk.hear_id()
            await talk.say(progress(number), progress("no such token"), progress(99), response(number))
            assert await read(call) == [response(1)]


async def test_all_other_bytes_pass_through_as_they_are(autojump_clock: MockClock) -> None:
    """Numbers beyond any float, escaped surrogates, unknown members, their order and the white space within values."""
    meta = (
        b'{"io.modelcontextprotocol/protocolVersion": "2026-07-28","progressToken":%b,'
        b'"com.example/x":[1E400, -0.0,"\\ud83d"],"io.modelcontextprotocol/clientCapabilities":{ }}'
    )
    arguments = b'{"n": 123456789012345678901234567890.10, "s":"\\u00e9\\ud83d\\/", "z":1, "a":2}'
    template = b'{"params":{"name":"add","arguments":' + arguments + b',"_meta":' + meta + b'},"x":[ ],"method":"tools/call"'
    result = b'{"content":[],"structuredContent":{"z":1e999,"a":"\\uDE00", "b" : 1.50}}'
    async with open_multiplex() as talk:
        with talk.call(template % b'"tok"' + b',"id":"me","jsonrpc":"2.0"}') as call:
            heard = await talk.server.hear_line()
            number = b"%d" % json.loads(heard)["id"]
            assert heard == template % number + b',"id":' + number + b',"jsonrpc":"2.0"}'
            said = b'{"params":{"total":1E400,"progressToken":%b,"m":"\\ud83d"},'
            said += b'"method":"notifications/progress","jsonrpc":"2.0"}'
            await talk.say(said % number, b'{"result":' + result + b',"jsonrpc":"2.0","id":' + number + b"}")
            assert await read_raw(call) == [said % b'"tok"', b'{"result":' + result + b',"jsonrpc":"2.0","id":"me"}']


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize(
    "template", ['{"jsonrpc":"2.0","id":@,"result":{"x":"#"}}', '{"result":{"x":"#"},"jsonrpc":"2.0","id":@}']
)
async def test_a_response_of_any_size_and_of_either_order_gets_its_id_back(
    size: int, template: str, autojump_clock: MockClock
) -> None:
    async with open_multiplex() as talk:
        with talk.call(request("tools/list", "the id")) as call:
            line = template.replace("#", "x" * size)
            await talk.say(line.replace("@", str(await talk.hear_id())).encode())
            assert await read_raw(call) == [line.replace("@", '"the id"').encode()]


@pytest.mark.parametrize("twice", [b'"id": 1, "id": 2', b'"id": 1, "\\u0069d": 2', b'"i\\u0064": 1,"id": 2'])
@pytest.mark.parametrize("moved_back", [False, True])
async def test_an_id_that_comes_twice_is_replaced_twice(twice: bytes, moved_back: bool, autojump_clock: MockClock) -> None:
    """Whichever of the two a server reads, it must not be that of another client's request; nor if it is disguised."""
    message = json.dumps(request("tools/list", 2)).encode()
    assert message.startswith(b'{"jsonrpc": "2.0", "id": 2')
    if moved_back:
        one, _, other = twice.partition(b",")
        message = message.replace(b'"id": 2', one).removesuffix(b"}") + b"," + other + b"}"
    else:
        message = message.replace(b'"id": 2', twice)
    async with open_multiplex() as talk:
        with talk.call(message) as call:
            pairs = json.loads(await talk.server.hear_line(), object_pairs_hook=list)
            ids = [value for name, value in pairs if name == "id"]
            assert len(ids) == 2
            assert ids[0] == ids[1]
            await talk.say(response(ids[0]))
            assert await read(call) == [response(2)]


# Cancellation


async def test_a_client_that_leaves_cancels_its_request_and_no_other(autojump_clock: MockClock) -> None:
    """Transports §Streamable HTTP: closing the response "MUST be treated by the server as cancellation of that request"."""
    async with open_multiplex() as talk:
        with talk.call(request("tools/list", 1)) as stays:
            number = await talk.hear_id()
            with talk.call(request("tools/list", 1)):
                leaving = await talk.hear_id()
            cancelled = await talk.server.hear()
            assert (cancelled["method"], cancelled["params"]["requestId"]) == ("notifications/cancelled", leaving)
            await talk.say(response(number))
            assert await read(stays) == [response(1)]
        await wait_all_tasks_blocked()
        assert talk.server.unheard == 0


async def test_what_the_server_says_to_a_cancelled_request_reaches_nobody(autojump_clock: MockClock) -> None:
    """ "MUST NOT send any further messages for it"; the next client with the same id is another."""
    async with open_multiplex() as talk:
        with talk.call(tool_call("count", 1, token="t")):
            late = await talk.hear_id()
        await talk.server.hear()
        with talk.call(tool_call("count", 1, token="t")) as call:
            number = await talk.hear_id()
            await talk.say(progress(late), response(late, of="the cancelled one"), response(number))
            assert await read(call) == [response(1)]
        assert talk.multiplex.skipped == {"late": 2}


async def test_a_response_to_nothing_is_dropped(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(request("tools/list")) as call:
            number = await talk.hear_id()
            error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "What?"}}
            await talk.say(response(99), response(str(number)), error, response(number))
            assert await read(call) == [response(1)]


# Subscriptions


@pytest.mark.parametrize("request_id", [1, "1"])
async def test_a_subscription_id_is_the_id_of_its_listen_with_its_type(
    request_id: int | str, autojump_clock: MockClock
) -> None:
    """Subscriptions §Receiving Notifications; §Graceful Closure: the response carries it, too."""
    async with open_multiplex() as talk:
        with talk.call(listen(request_id, toolsListChanged=True)) as call:
            number = await talk.hear_id()
            result = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: number}}
            await talk.say(
                acknowledged(number, toolsListChanged=True),
                stamped("notifications/tools/list_changed", number),
                response(number, **result),
            )
            messages = await read(call)
            assert messages == [
                acknowledged(request_id, toolsListChanged=True),
                stamped("notifications/tools/list_changed", request_id),
                response(request_id, resultType="complete", _meta={SUBSCRIPTION_ID: request_id}),
            ]
            assert type(messages[0]["params"]["_meta"][SUBSCRIPTION_ID]) is type(request_id)


async def test_each_subscription_hears_what_is_its_own(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(listen(1)) as one, talk.call(listen(1)) as two:
            first, second = await talk.hear_id(), await talk.hear_id()
            changed = "notifications/resources/updated"
            await talk.say(
                acknowledged(second),
                acknowledged(first),
                stamped(changed, first, uri="a"),
                stamped(changed, second, uri="b"),
                # Of nobody's, and of nobody's any more.
                notification("notifications/tools/list_changed"),
                stamped(changed, 99, uri="c"),
                stamped(changed, "1", uri="d"),
            )
            assert [json.loads(m) for m in (await one.read())[1]] == [acknowledged(1), stamped(changed, 1, uri="a")]
            assert [json.loads(m) for m in (await two.read())[1]] == [acknowledged(1), stamped(changed, 1, uri="b")]
        assert talk.multiplex.skipped == {"unrelated": 1, "late": 2}


async def test_a_closed_subscription_is_cancelled(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(listen()):
            number = await talk.hear_id()
            await talk.say(acknowledged(number))
        assert (await talk.server.hear())["params"]["requestId"] == number


async def test_a_subscription_that_the_server_cancels_ends_with_a_result(autojump_clock: MockClock) -> None:
    """Cancellation: a server "MUST send `notifications/cancelled` referencing a `subscriptions/listen` request ID when it
    tears down that subscription stream"; Subscriptions §Graceful Closure: the client gets a result."""
    async with open_multiplex() as talk:
        with talk.call(listen("mine")) as call, talk.call(tool_call("count", "other")) as other:
            number, another = await talk.hear_id(), await talk.hear_id()
            cancel = "notifications/cancelled"
            # "MUST NOT send notifications/cancelled for any other purpose", and some may.
            await talk.say(acknowledged(number), notification(cancel, requestId=another))
            await talk.say(notification(cancel, requestId=number, reason="shutting down"), response(another))
            result = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: "mine"}}
            assert await read(call) == [acknowledged("mine"), response("mine", **result)]
            assert await read(other) == [response("other")]
        await wait_all_tasks_blocked()
        assert talk.server.unheard == 0


# Logs


async def test_a_log_message_reaches_the_only_request_that_wants_any(autojump_clock: MockClock) -> None:
    """Nothing in it says whose it is (Logging)."""
    async with open_multiplex() as talk:
        with talk.call(request("tools/list", 1)) as quiet, talk.call(tool_call("log", 2, log_level="info")) as curious:
            first, second = await talk.hear_id(), await talk.hear_id()
            await talk.say(log("hello"), response(second), log("too late"), response(first))
            assert await read(curious) == [log("hello"), response(2)]
            assert await read(quiet) == [response(1)]


async def test_a_log_message_reaches_nobody_while_several_want_any(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with (
            talk.call(tool_call("log", 1, log_level="info")) as one,
            talk.call(tool_call("log", 2, log_level="debug")) as two,
        ):
            first, second = await talk.hear_id(), await talk.hear_id()
            await talk.say(log("whose?"), response(first), log("two's"), response(second))
            assert await read(one) == [response(1)]
            assert await read(two) == [log("two's"), response(2)]


# Questions


def input_required(number: int, **questions: Any) -> dict[str, Any]:
    return response(number, resultType="input_required", inputRequests=questions, requestState="s")


ELICITATION = {"method": "elicitation/create", "params": {"message": "Name?", "requestedSchema": {"type": "object"}}}
SAMPLING = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}


async def test_a_client_is_asked_what_it_has_declared(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(tool_call("ask_name", "me", capabilities=ASKABLE)) as call:
            number = await talk.hear_id()
            asked = json.dumps(input_required(number, q=ELICITATION, r={"method": "roots/list"})).encode()
            await talk.say(asked)
            assert await read_raw(call) == [asked.replace(b'"id": %d' % number, b'"id": "me"')]


@pytest.mark.parametrize(
    ("capabilities", "missing"),
    [
        ({}, {"elicitation": {"form": {}}, "sampling": {}}),
        ({"elicitation": {}}, {"sampling": {}}),
        ({"elicitation": {"url": {}}, "sampling": {}}, {"elicitation": {"form": {}}}),
    ],
)
async def test_a_question_that_the_client_has_not_declared_is_an_error_of_the_call(
    capabilities: dict[str, Any], missing: dict[str, Any], autojump_clock: MockClock
) -> None:
    """Multi Round-Trip Requests §Server Requirements, 7; Basic §`_meta`: MissingRequiredClientCapabilityError."""
    async with open_multiplex() as talk:
        with talk.call(tool_call("introduce", "me", capabilities=capabilities)) as call:
            await talk.say(input_required(await talk.hear_id(), name=ELICITATION, greeting=SAMPLING))
            (answer,) = await read(call)
            assert call.is_error
            assert (answer["id"], answer["error"]["code"]) == ("me", -32021)
            assert answer["error"]["data"] == {"requiredCapabilities": missing}


async def test_a_result_that_only_speaks_of_questions_is_none(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(tool_call("explain")) as call:
            result = {"resultType": "complete", "text": "input_required", "inputRequests": {"q": ELICITATION}}
            await talk.say(response(await talk.hear_id(), **result))
            assert await read(call) == [response(1, **result)]


@pytest.mark.parametrize(
    "middle",
    [b'"result":{"resultType":"input_required",' + b"[" * 20_000 + b"}", b'"error":{"code":1,' + b"x" * 20_000 + b"}"],
)
async def test_a_long_response_that_is_no_json_after_all_fails_its_call_only(
    middle: bytes, autojump_clock: MockClock
) -> None:
    """It is recognised by its ends; here somebody has to look at the middle."""
    async with open_multiplex() as talk:
        with talk.call(tool_call("broken", 1)) as broken, talk.call(tool_call("sound", 2)) as sound:
            first, second = await talk.hear_id(), await talk.hear_id()
            await talk.say(b'{"jsonrpc":"2.0","id":%d,%b}' % (first, middle), response(second))
            assert await read(sound) == [response(2)]
            (answer,) = await read(broken)
            assert (answer["id"], answer["error"]["code"]) == (1, -32603)


# A server that breaks the rules


async def test_a_request_of_the_server_is_refused_and_reaches_nobody(autojump_clock: MockClock) -> None:
    """Transports §stdio: "The server MUST NOT write JSON-RPC requests to stdout"."""
    async with open_multiplex() as talk:
        with talk.call(tool_call("ask", capabilities=ASKABLE)) as call:
            number = await talk.hear_id()
            question = {"jsonrpc": "2.0", "id": number, "method": "roots/list"}
            await talk.say(question, {"jsonrpc": "2.0", "id": "p", "method": "ping"})
            refused, pong = await talk.server.hear(), await talk.server.hear()
            assert (refused["id"], refused["error"]["code"]) == (number, -32601)
            assert pong == response("p")
            await talk.say(response(number))
            assert await read(call) == [response(1)]


async def test_a_server_that_asks_and_never_reads_is_told_nothing_more(autojump_clock: MockClock) -> None:
    """What is queued for it must not grow without a bound."""
    async with open_multiplex() as talk:
        question = {"jsonrpc": "2.0", "id": "q" * 1000, "method": "roots/list"}
        for _ in range(20):
            await talk.say(*[question] * 1000)
        assert talk.server.is_congested
        assert talk.server.unheard < 10_000


async def test_garbage_is_skipped(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(request("tools/list")) as call:
            number = await talk.hear_id()
            await talk.say(
                b"Server ready!", b'{"jsonrpc":"2.0","id":%d,"resu' % number, b"[]", b'{"id":1}', response(number)
            )
            assert await read(call) == [response(1)]
        assert talk.multiplex.skipped == {"garbage": 4}


async def test_an_answer_over_the_limit_fails_its_call_only(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(request("tools/list", "big")) as big, talk.call(request("tools/list", "small")) as small:
            first, second = await talk.hear_id(), await talk.hear_id()
            line = OversizedLine(b'{"jsonrpc":"2.0","id":%d,"result":{"x' % first, b"}}", 10**9)
            await talk.say(line, response(second))
            (answer,) = await read(big)
            assert (answer["id"], answer["error"]["code"]) == ("big", -32603)
            assert "1000000000 bytes" in answer["error"]["message"]
            assert await read(small) == [response("small")]
        assert not talk.multiplex.has_ended


@pytest.mark.parametrize("head", [b'{"jsonrpc":"2.0","method":"notifications/pro', b'{"jsonrpc":"2.0","id":"x","result":{'])
async def test_a_line_over_the_limit_that_could_be_anybodys_fails_all(head: bytes, autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(request("tools/list", 1)) as one, talk.call(request("tools/list", 2)) as two:
            await talk.say(OversizedLine(head, b"}}", 10**9))
            for call in (one, two):
                (answer,) = await read(call)
                assert answer["error"]["code"] == -32603
        assert talk.multiplex.has_ended


# The end of the server


async def test_when_the_server_dies_calls_fail_and_subscriptions_end_with_a_result(autojump_clock: MockClock) -> None:
    """Subscriptions §Graceful Closure; the client "MAY treat" anything else "as a trigger to reconnect"."""
    async with open_multiplex() as talk:
        with talk.call(request("tools/list", "a")) as call, talk.call(listen("b")) as subscription:
            await talk.hear_id()
            await talk.say(acknowledged(await talk.hear_id()))
            talk.server.end(ChildExited("the server was killed by SIGKILL"))
            (answer,) = await read(call)
            assert (answer["id"], answer["error"]["code"]) == ("a", -32603)
            assert "SIGKILL" in answer["error"]["message"]
            result = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: "b"}}
            assert await read(subscription) == [acknowledged("b"), response("b", **result)]
        assert talk.multiplex.has_ended
        with pytest.raises(ChildExited, match="SIGKILL"):
            talk.call(request("tools/list"))


async def test_what_the_server_said_before_it_died_is_delivered(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(request("tools/list")) as call:
            talk.server.say(response(await talk.hear_id()))
            talk.server.end(ChildExited("gone"))
            assert await read(call) == [response(1)]


async def test_closing_answers_what_is_in_flight_with_the_reason(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(request("tools/list", "a")) as call, talk.call(listen("b")) as subscription:
            assert talk.multiplex.calls == 1
            talk.multiplex.close(ShuttingDown("closing time"))
            (answer,) = await read(call)
            assert answer["error"]["message"] == "closing time"
            assert (await read(subscription))[0]["result"]["resultType"] == "complete"


# Time


async def test_a_request_has_so_much_time_and_no_more(autojump_clock: MockClock) -> None:
    async with open_multiplex(times={"request_timeout": 300}) as talk:
        with talk.call(tool_call("sleep", "me")) as call:
            number = await talk.hear_id()
            (answer,) = await read(call)
            assert trio.current_time() == 300
            assert (answer["id"], answer["error"]["code"]) == ("me", -32001)
            assert "300 s" in answer["error"]["message"]
            # Cancellation §Timeouts: "the sender SHOULD cancel the request and stop waiting for a response".
            assert (await talk.server.hear())["params"]["requestId"] == number
            await talk.say(response(number))
        assert talk.multiplex.skipped == {"late": 1}


@pytest.mark.parametrize("only_answer", [False, True])
async def test_progress_gives_a_request_its_whole_time_again(only_answer: bool, autojump_clock: MockClock) -> None:
    async with open_multiplex(times={"request_timeout": 300}) as talk:
        with talk.call(tool_call("count", token="t"), only_answer=only_answer) as call:
            number = await talk.hear_id()

            async def work() -> None:
                for step in range(4):
                    await trio.sleep(299)
                    talk.server.say(progress(number, step))
                await trio.sleep(299)
                talk.server.say(response(number))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(work)
                assert await call.wait(10_000)
                messages = await read(call)
            assert trio.current_time() == 5 * 299
            assert messages == [*([] if only_answer else [progress("t", n) for n in range(4)]), response(1)]


async def test_progress_only_puts_the_end_of_its_time_off(autojump_clock: MockClock) -> None:
    async with open_multiplex(times={"request_timeout": 300}) as talk:
        with talk.call(tool_call("count", token="t"), only_answer=True) as call:
            number = await talk.hear_id()

            async def work() -> None:
                await trio.sleep(200)
                talk.server.say(progress(number))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(work)
                (answer,) = await read(call)
            assert answer["error"]["code"] == -32001
            assert trio.current_time() == 500


async def test_a_subscription_lasts_as_long_as_it_likes(autojump_clock: MockClock) -> None:
    async with open_multiplex(times={"request_timeout": 300}) as talk:
        with talk.call(listen()) as call:
            await talk.say(acknowledged(await talk.hear_id()))
            await call.read()
            with trio.move_on_after(10**5) as patience:
                await call.read()
            assert patience.cancelled_caught
            assert not call.is_at_end


async def test_a_wait_ends_with_its_time(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(tool_call("sleep")) as call:
            assert not await call.wait(15)
            assert trio.current_time() == 15
            await talk.say(response(await talk.hear_id()))
            assert await call.wait(15)
            assert trio.current_time() == 15
            assert call.answer == json.dumps(response(1)).encode()


async def test_a_brief_wait_is_over_after_a_moment_for_each_call_by_itself(autojump_clock: MockClock) -> None:
    """One timer serves them all, also those whose neighbours have been answered or have left."""
    ends: dict[str, Any] = {}
    async with open_multiplex() as talk:

        async def wait(name: str, begin: float) -> None:
            await trio.sleep(begin)
            with talk.call(tool_call("sleep")) as call:
                if name == "leaves":
                    with trio.move_on_after(0.01):
                        await call.wait_briefly()
                    return
                has_something = await call.wait_briefly()
                ends[name] = (has_something, pytest.approx(trio.current_time() - begin))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "leaves", 0)
            nursery.start_soon(wait, "answered", 1)
            nursery.start_soon(wait, "first", 1.01)
            nursery.start_soon(wait, "second", 1.03)
            nursery.start_soon(wait, "much later", 100)
            await trio.sleep(1.02)
            numbers = [await talk.hear_id(), (await talk.server.hear())["params"]["requestId"], await talk.hear_id()]
            talk.server.say(response(numbers[2]))
    limit = call_module.AT_ONCE
    assert ends == {
        "answered": (True, 0.02),
        "first": (False, limit),
        "second": (False, limit),
        "much later": (False, limit),
    }


async def test_a_brief_wait_ends_with_the_server(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        with talk.call(tool_call("die")) as call:
            talk.server.end(ChildExited("gone"))
            assert await call.wait_briefly()
            assert trio.current_time() == 0
            assert call.is_error


async def test_the_server_is_ended_once_nobody_has_asked_it_anything_for_so_long(autojump_clock: MockClock) -> None:
    async with open_multiplex(idle_limit=1800) as talk:
        await trio.sleep(1000)
        with talk.call(listen()):
            await trio.sleep(5000)
            assert not talk.multiplex.has_ended
        await trio.sleep(1799)
        with talk.call(tool_call("count")) as call:
            await talk.server.hear()
            await talk.server.hear()
            await talk.say(response(await talk.hear_id()))
            await read(call)
        await trio.sleep(1799)
        assert not talk.multiplex.has_ended
        await trio.sleep(2)
        assert talk.multiplex.has_ended


async def test_without_a_limit_the_server_is_never_ended(autojump_clock: MockClock) -> None:
    async with open_multiplex() as talk:
        await trio.sleep(10**5)
        assert not talk.multiplex.has_ended


# Clients that do not read, servers that do not


NOTE = progress("t") | {"padding": "." * 1000}


async def test_a_client_that_reads_nothing_is_let_go_and_the_others_go_on(autojump_clock: MockClock) -> None:
    async with open_multiplex(event_store_max_bytes=10_000) as talk:
        with talk.call(tool_call("flood", 1, token="t")) as stalled, talk.call(tool_call("add", 2)) as other:
            interrupted = []
            stalled.interrupt = lambda: interrupted.append(trio.current_time())
            first, second = await talk.hear_id(), await talk.hear_id()
            note = {**NOTE, "params": {"progressToken": first, "progress": 1}}
            talk.server.say(*[note] * 20)
            await wait_all_tasks_blocked()
            talk.server.say(response(second))
            assert await read(other) == [response(2)]
            assert trio.current_time() == call_module._STALL_TIME
            # Its connection may be in the middle of a send that will not end.
            assert interrupted == [call_module._STALL_TIME]
            assert stalled.is_at_end
            assert await stalled.read() == (0, [])


async def test_a_client_that_reads_slowly_holds_the_server_back_and_gets_everything(autojump_clock: MockClock) -> None:
    async with open_multiplex(event_store_max_bytes=10_000) as talk:
        with talk.call(tool_call("flood", 1, token="t")) as call:
            number = await talk.hear_id()
            note = {**NOTE, "params": {"progressToken": number, "progress": 1}}

            async def flood() -> None:
                for _ in range(10):
                    talk.server.say(*[note] * 20)
                    await trio.sleep(0.01)
                talk.server.say(response(number))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(flood)
                got: list[bytes] = []
                while not call.is_at_end:
                    got += (await call.read())[1]
                    await trio.sleep(0.9)
            assert len(got) == 201


async def test_an_answer_larger_than_what_may_wait_holds_nobody_up(autojump_clock: MockClock) -> None:
    """After it there is nothing more to come, so that there is nothing to hold back."""
    async with open_multiplex(event_store_max_bytes=1000) as talk:
        with talk.call(tool_call("blob", 1)) as big, talk.call(tool_call("add", 2)) as other:
            first, second = await talk.hear_id(), await talk.hear_id()
            talk.server.say(response(first, text="x" * 5000))
            await wait_all_tasks_blocked()
            assert big.answer is not None
            talk.server.say(response(second))
            assert await read(other) == [response(2)]
            assert trio.current_time() == 0
            assert await read(big) == [response(1, text="x" * 5000)]


async def test_a_client_that_leaves_while_it_holds_the_server_up_frees_it_at_once(autojump_clock: MockClock) -> None:
    async with open_multiplex(event_store_max_bytes=1000) as talk:
        with talk.call(tool_call("add", 2)) as other:
            second = await talk.hear_id()
            with talk.call(tool_call("flood", 1, token="t")):
                number = await talk.hear_id()
                talk.server.say(*[{**NOTE, "params": {"progressToken": number, "progress": 1}}] * 20)
                await wait_all_tasks_blocked()
            talk.server.say(response(second))
            assert await read(other) == [response(2)]
            assert trio.current_time() == 0


async def test_a_request_waits_for_a_server_that_has_much_to_read_and_is_refused_after_a_while(
    autojump_clock: MockClock,
) -> None:
    async with open_multiplex() as talk:
        while not talk.server.is_congested:
            talk.server.send_nowait(b" " * 100_000)
        with pytest.raises(Unavailable, match="10 s"):
            await talk.multiplex.wait_writable()
        assert trio.current_time() == 10
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.multiplex.wait_writable)
            await trio.sleep(5)
            while talk.server.is_congested:
                await talk.server.hear_line()
        assert trio.current_time() == 15


async def test_there_is_a_limit_to_the_requests_in_flight(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(multiplex_module, "_MAX_CALLS", 2)
    async with open_multiplex() as talk:
        with talk.call(request("tools/list")) as one, talk.call(request("tools/list")) as two:
            assert one is not two
            with pytest.raises(Unavailable, match="2 requests are in flight, the limit"):
                await talk.multiplex.wait_writable()
        await talk.multiplex.wait_writable()
