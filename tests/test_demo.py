"""The demo server: what a client sees of it, in each revision and in both eras.

Most tests hand messages to a `Server`, with the time; every message that comes back is held against the official schema
of the revision in use.  The last two groups run the real process, by hand and with the official client.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.client import ClientRequestContext
from mcp_types.jsonrpc import jsonrpc_message_adapter
from mcp_types.methods import parse_server_notification, parse_server_request, validate_server_result

from trioproxy.demo.calls import LEGACY_REVISIONS, MODERN_REVISION
from trioproxy.demo.server import Server

Json = dict[str, Any]

ENVELOPE = "io.modelcontextprotocol/"
COUNTER = "demo://counter"

# A client that may be asked anything.
ALL_CAPABILITIES: Json = {"elicitation": {}, "sampling": {}, "roots": {}}


class Driver:
    """A client of one revision, and the server that it talks to; time passes when a test says so."""

    def __init__(self, revision: str, capabilities: Json | None = None, server: Server | None = None) -> None:
        self.revision = revision
        self.capabilities = ALL_CAPABILITIES if capabilities is None else capabilities
        self.server = server or Server()
        self.now = 0.0
        self.methods: dict[str | int, str] = {}
        if revision != MODERN_REVISION:
            answer = self.result("initialize", protocolVersion=revision, capabilities=self.capabilities, clientInfo=INFO)
            assert answer["protocolVersion"] == revision
            assert self.notify("notifications/initialized") == []

    def request(self, request_id: str | int, method: str, **params: Any) -> list[Json]:
        """Send a request, and return whatever comes back at once."""
        if self.revision == MODERN_REVISION:
            envelope = {ENVELOPE + "protocolVersion": MODERN_REVISION, ENVELOPE + "clientCapabilities": self.capabilities}
            params["_meta"] = envelope | params.get("_meta", {})
        self.methods[request_id] = method
        return self.send({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})

    def call(self, request_id: str | int, tool: str, **arguments: Any) -> list[Json]:
        return self.request(request_id, "tools/call", name=tool, arguments=arguments)

    def notify(self, method: str, **params: Any) -> list[Json]:
        return self.send({"jsonrpc": "2.0", "method": method, "params": params})

    def send(self, message: Any) -> list[Json]:
        return self.checked(self.server.receive(json.dumps(message).encode(), self.now))

    def wait(self, seconds: float) -> list[Json]:
        self.now += seconds
        return self.checked(self.server.wake(self.now))

    def result(self, method: str, **params: Any) -> Json:
        """Send a request that is answered at once and with nothing else, and return its result."""
        return result_of(self.request("a request", method, **params))

    def error(self, method: str, **params: Any) -> Json:
        return error_of(self.request("a request", method, **params))

    def checked(self, messages: list[Json]) -> list[Json]:
        """Return `messages`, having held each against the schema of our revision."""
        for message in messages:
            jsonrpc_message_adapter.validate_python(message, by_name=False)
            if "result" in message:
                validate_server_result(self.methods[message["id"]], self.revision, message["result"])
            elif "id" in message and "method" in message:
                parse_server_request(message["method"], self.revision, message["params"])
            elif "method" in message:
                parse_server_notification(message["method"], self.revision, message.get("params"))
        return messages


INFO = {"name": "a test", "version": "1"}

every_revision = pytest.mark.parametrize("revision", [*LEGACY_REVISIONS, MODERN_REVISION])
every_legacy_revision = pytest.mark.parametrize("revision", LEGACY_REVISIONS)
# One of each era, where the revisions within don't differ.
both_eras = pytest.mark.parametrize("revision", [LEGACY_REVISIONS[-1], MODERN_REVISION])


@pytest.fixture
def legacy() -> Driver:
    return Driver(LEGACY_REVISIONS[-1])


@pytest.fixture
def modern() -> Driver:
    return Driver(MODERN_REVISION)


def result_of(messages: list[Json]) -> Json:
    [message] = messages
    assert "result" in message, message
    result: Json = message["result"]
    return result


def error_of(messages: list[Json]) -> Json:
    [message] = messages
    assert "error" in message, message
    error: Json = message["error"]
    return error


def text_of(messages: list[Json]) -> str:
    """Return what a tool said that succeeded, and said nothing but its result."""
    result = result_of(messages)
    assert "isError" not in result
    return str(result["content"][0]["text"])


def methods_of(messages: list[Json]) -> list[str]:
    return [message.get("method", "response") for message in messages]


# What is on offer.


@every_revision
def test_everything_on_offer_is_listed_and_every_tool_is_in_the_schema_of_its_revision(revision: str) -> None:
    driver = Driver(revision)
    assert [tool["name"] for tool in driver.result("tools/list")["tools"]] == [
        *("echo", "add", "count", "log", "touch", "grow"),
        *("ask_name", "ask_model", "introduce", "list_roots"),
    ]
    assert [resource["uri"] for resource in driver.result("resources/list")["resources"]] == ["demo://greeting", COUNTER]
    [template] = driver.result("resources/templates/list")["resourceTemplates"]
    assert template["uriTemplate"] == "demo://square/{number}"
    [prompt] = driver.result("prompts/list")["prompts"]
    assert prompt["name"] == "greet"


@every_revision
def test_a_tool_answers_with_its_text(revision: str) -> None:
    assert text_of(Driver(revision).call(1, "echo", text="hello \u2028 \U0001f600")) == "hello \u2028 \U0001f600"


@every_revision
def test_a_sum_comes_as_text_and_as_structure(revision: str) -> None:
    result = result_of(Driver(revision).call(1, "add", a=2, b=0.5))
    assert (result["content"][0]["text"], result["structuredContent"]) == ("2.5", {"sum": 2.5})


@every_revision
def test_a_prompt_is_filled_in_and_its_argument_completed(revision: str) -> None:
    driver = Driver(revision)
    prompt = driver.result("prompts/get", name="greet", arguments={"name": "Ada"})
    assert prompt["messages"][0]["content"]["text"] == "Please greet Ada warmly."
    names = driver.result(
        "completion/complete", ref={"type": "ref/prompt", "name": "greet"}, argument={"name": "name", "value": "a"}
    )
    assert names["completion"] == {"values": ["Ada", "Alan"], "total": 2, "hasMore": False}
    numbers = driver.result(
        "completion/complete",
        ref={"type": "ref/resource", "uri": "demo://square/{number}"},
        argument={"name": "number", "value": "7"},
    )
    assert numbers["completion"]["values"] == ["7", *(f"7{digit}" for digit in range(10))]


@every_revision
def test_resources_are_read_and_the_template_is_computed(revision: str) -> None:
    driver = Driver(revision)

    def read(uri: str) -> str:
        [content] = driver.result("resources/read", uri=uri)["contents"]
        assert content["uri"] == uri
        return str(content["text"])

    assert read("demo://greeting") == "Hello from the trioproxy demo."
    assert read("demo://square/12") == "144"
    assert read(COUNTER) == "0"
    driver.call(1, "touch")
    assert read(COUNTER) == "1"


@every_revision
def test_an_unknown_resource_has_the_error_code_of_its_era(revision: str) -> None:
    for uri in ("demo://nothing", "demo://square/x", "demo://square/-1", "demo://square/" + "9" * 101, "demo://leaf/1"):
        error = Driver(revision).error("resources/read", uri=uri)
        assert error["code"] == (-32602 if revision == MODERN_REVISION else -32002)
        assert error["data"] == {"uri": uri}


# What is refused.


@every_revision
def test_an_unknown_tool_or_prompt_is_an_error_of_the_protocol(revision: str) -> None:
    driver = Driver(revision)
    assert driver.error("tools/call", name="nonsense")["code"] == -32602
    assert driver.error("prompts/get", name="nonsense")["code"] == -32602
    assert driver.error("prompts/get", name="greet")["code"] == -32602
    unknown = {"ref": {"type": "ref/prompt", "name": "nonsense"}, "argument": {"name": "name", "value": ""}}
    assert driver.error("completion/complete", **unknown)["code"] == -32602
    assert driver.error("tools/list", cursor="nonsense")["code"] == -32602
    assert driver.error("no/such/method")["code"] == -32601


@every_revision
@pytest.mark.parametrize(
    ("tool", "arguments", "reason"),
    [
        ("echo", {}, "Missing argument: text"),
        ("echo", {"text": 1}, "text must be of type string"),
        ("echo", {"text": "a", "more": 1}, "Unknown argument: more"),
        ("add", {"a": True, "b": 1}, "a must be of type number"),
        ("add", {"a": 1e301, "b": 1}, "a must be from -1e+300 to 1e+300"),
        ("count", {"to": 1.5}, "to must be of type integer"),
        ("count", {"to": -1}, "to must be from 0 to 1000000"),
        ("log", {"text": "a", "level": "loud"}, "level must be one of debug, info, "),
    ],
)
def test_arguments_that_do_not_fit_are_for_the_model_to_correct_since_2025_11_25(
    revision: str, tool: str, arguments: Json, reason: str
) -> None:
    [answer] = Driver(revision).call(1, tool, **arguments)
    if revision < "2025-11-25":
        assert answer["error"]["code"] == -32602
        assert answer["error"]["message"].startswith(reason)
    else:
        assert answer["result"]["isError"] is True
        assert answer["result"]["content"][0]["text"].startswith(reason)


@pytest.mark.parametrize("line", [b"{", b"nonsense", b"\xff", b"[" * 100_000, b'{"jsonrpc": "2.0", "id": 1'])
def test_what_is_not_json_is_answered_with_a_parse_error_and_the_next_line_is_served(line: bytes) -> None:
    server = Server()
    [answer] = server.receive(line, 0)
    assert (answer["id"], answer["error"]["code"]) == (None, -32700)
    assert server.receive(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}', 0)[0]["result"] == {}


@pytest.mark.parametrize(
    ("message", "request_id"),
    [
        (1, None),
        ([], None),
        ([{"jsonrpc": "2.0", "id": 1, "method": "ping"}], None),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, None),
        ({"jsonrpc": "2.0", "id": 1.5, "method": "ping"}, None),
        ({"jsonrpc": "2.0", "id": True, "method": "ping"}, None),
        ({"jsonrpc": "1.0", "id": 5, "method": "ping"}, 5),
        ({"jsonrpc": "2.0", "id": "x"}, "x"),
    ],
)
def test_json_that_is_no_message_is_an_invalid_request(message: Any, request_id: str | None, legacy: Driver) -> None:
    [answer] = legacy.send(message)
    assert (answer["id"], answer["error"]["code"]) == (request_id, -32600)


def test_params_that_are_no_object_are_refused_under_the_id_of_their_request(legacy: Driver) -> None:
    strange: list[Any] = [[], "text", None, {"_meta": 1}]
    for params in strange:
        [answer] = legacy.send({"jsonrpc": "2.0", "id": 7, "method": "ping", "params": params})
        assert (answer["id"], answer["error"]["code"]) == (7, -32602)


def test_notifications_are_never_answered_however_strange(legacy: Driver) -> None:
    for method in ("notifications/initialized", "notifications/roots/list_changed", "no/such/method"):
        assert legacy.notify(method) == []
    strange: list[Json] = [{}, {"requestId": []}, {"requestId": 99}, {"requestId": True}]
    for params in strange:
        assert legacy.notify("notifications/cancelled", **params) == []
    assert legacy.send({"jsonrpc": "2.0", "method": "notifications/cancelled"}) == []


# The legacy session.


@pytest.mark.parametrize("requested", ["1999-01-01", "2026-07-28", "nonsense"])
def test_a_client_that_asks_for_an_unknown_revision_is_offered_the_latest_with_a_handshake(requested: str) -> None:
    request = {"protocolVersion": requested, "capabilities": {}, "clientInfo": INFO}
    [answer] = Server().receive(
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": request}).encode(), 0
    )
    assert answer["result"]["protocolVersion"] == "2025-11-25"


def test_before_the_handshake_only_ping_is_served() -> None:
    driver = Driver(MODERN_REVISION)
    assert result_of(driver.server.receive(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}', 0)) == {}
    refused = error_of(driver.server.receive(b'{"jsonrpc": "2.0", "id": 2, "method": "tools/list"}', 0))
    assert refused["code"] == -32602


def test_a_second_handshake_is_refused(legacy: Driver) -> None:
    assert legacy.error("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=INFO)["code"] == -32600


@every_legacy_revision
def test_the_modern_methods_are_unknown_to_a_legacy_session(revision: str) -> None:
    driver = Driver(revision)
    assert driver.error("server/discover")["code"] == -32601
    assert driver.error("subscriptions/listen", notifications={})["code"] == -32601


@every_legacy_revision
def test_a_legacy_client_hears_the_logs_that_its_level_lets_through(revision: str) -> None:
    driver = Driver(revision)
    assert methods_of(driver.call(1, "log", text="a", level="debug")) == ["response"]
    note, _ = driver.call(2, "log", text="a")
    assert note["params"] == {"level": "info", "logger": "demo", "data": "a"}
    assert driver.result("logging/setLevel", level="error") == {}
    assert methods_of(driver.call(3, "log", text="a", level="warning")) == ["response"]
    assert methods_of(driver.call(4, "log", text="a", level="alert")) == ["notifications/message", "response"]
    assert driver.error("logging/setLevel", level="loud")["code"] == -32602


@every_legacy_revision
def test_a_subscriber_hears_of_changes_until_it_unsubscribes(revision: str) -> None:
    driver = Driver(revision)
    assert methods_of(driver.call(1, "touch")) == ["response"]
    assert driver.result("resources/subscribe", uri=COUNTER) == {}
    update, _ = driver.call(2, "touch")
    assert (update["method"], update["params"]) == ("notifications/resources/updated", {"uri": COUNTER})
    assert driver.result("resources/unsubscribe", uri=COUNTER) == {}
    assert methods_of(driver.call(3, "touch")) == ["response"]
    assert driver.error("resources/subscribe", uri="demo://nothing")["code"] == -32002


@every_legacy_revision
def test_lists_that_grow_are_announced_to_a_legacy_client(revision: str) -> None:
    driver = Driver(revision)
    assert methods_of(driver.call(1, "grow")) == [
        "notifications/tools/list_changed",
        "notifications/resources/list_changed",
        "response",
    ]
    assert driver.result("tools/list")["tools"][-1]["name"] == "leaf_1"
    assert driver.result("resources/list")["resources"][-1]["uri"] == "demo://leaf/1"
    assert driver.result("resources/read", uri="demo://leaf/1")["contents"][0]["text"] == "A leaf."
    assert text_of(driver.call(2, "leaf_1")) == "This is leaf_1, swaying in the wind."


def test_growth_ends_at_a_hundred_leaves(modern: Driver) -> None:
    for number in range(100):
        text_of(modern.call(number, "grow"))
    assert result_of(modern.call(100, "grow"))["isError"] is True


def test_a_batch_is_answered_line_by_line_in_the_one_revision_that_has_batches() -> None:
    driver = Driver("2025-03-26")
    driver.methods |= {"a": "ping", "b": "ping"}
    answers = driver.send(
        [
            {"jsonrpc": "2.0", "id": "a", "method": "ping"},
            {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
            {"jsonrpc": "2.0", "id": "b", "method": "ping"},
        ]
    )
    assert [answer["id"] for answer in answers] == ["a", "b"]
    assert error_of(driver.send([]))["code"] == -32600


# The modern era.


def test_discover_names_the_modern_revision_and_the_capabilities(modern: Driver) -> None:
    found = modern.result("server/discover")
    assert found["supportedVersions"] == [MODERN_REVISION]
    assert found["capabilities"].keys() == {"tools", "resources", "prompts", "completions", "logging"}
    assert found["_meta"][ENVELOPE + "serverInfo"]["name"] == "trioproxy-demo"


def test_modern_results_say_that_they_are_complete_and_lists_how_long_they_last(modern: Driver) -> None:
    for method in ("server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list"):
        result = modern.result(method)
        assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 0, "private")
    result = result_of(modern.call(1, "echo", text="a"))
    assert result["resultType"] == "complete"
    assert "ttlMs" not in result


@pytest.mark.parametrize(
    "method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"]
)
def test_the_removed_methods_are_unknown_to_a_modern_request(method: str, modern: Driver) -> None:
    assert modern.error(method)["code"] == -32601


def test_an_unknown_revision_is_refused_with_those_that_are_spoken(modern: Driver) -> None:
    for requested in ("1900-01-01", "2025-11-25"):
        error = modern.error("tools/list", _meta={ENVELOPE + "protocolVersion": requested})
        assert error["code"] == -32022
        assert error["data"] == {"supported": [MODERN_REVISION], "requested": requested}


@pytest.mark.parametrize(
    "meta", [{"protocolVersion": 1}, {"clientCapabilities": None}, {"clientCapabilities": []}, {"logLevel": "loud"}]
)
def test_a_broken_envelope_is_refused(meta: Json, modern: Driver) -> None:
    error = modern.error("tools/list", _meta={ENVELOPE + key: value for key, value in meta.items()})
    assert error["code"] == -32602


def test_a_modern_request_hears_logs_only_if_it_names_a_level(modern: Driver) -> None:
    assert methods_of(modern.call(1, "log", text="a", level="emergency")) == ["response"]
    log = {"name": "log", "arguments": {"text": "a", "level": "warning"}}
    warned = modern.request(2, "tools/call", **log, _meta={ENVELOPE + "logLevel": "warning"})
    assert methods_of(warned) == ["notifications/message", "response"]
    assert methods_of(modern.request(3, "tools/call", **log, _meta={ENVELOPE + "logLevel": "error"})) == ["response"]


def test_a_listener_is_acknowledged_first_and_hears_exactly_what_it_asked_for(modern: Driver) -> None:
    wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourceSubscriptions": [COUNTER, "demo://nothing"]}
    [acknowledgment] = modern.request("l", "subscriptions/listen", notifications=wanted)
    assert acknowledgment["method"] == "notifications/subscriptions/acknowledged"
    assert acknowledgment["params"] == {
        "_meta": {ENVELOPE + "subscriptionId": "l"},
        "notifications": {"toolsListChanged": True, "resourceSubscriptions": [COUNTER]},
    }
    assert methods_of(modern.call(1, "grow")) == ["notifications/tools/list_changed", "response"]
    update, _ = modern.call(2, "touch")
    assert update["params"] == {"_meta": {ENVELOPE + "subscriptionId": "l"}, "uri": COUNTER}


def test_each_of_two_listeners_is_told_under_its_own_id_until_it_cancels(modern: Driver) -> None:
    modern.request(1, "subscriptions/listen", notifications={"resourceSubscriptions": [COUNTER]})
    modern.request("1", "subscriptions/listen", notifications={"resourceSubscriptions": [COUNTER]})
    *updates, _ = modern.call(2, "touch")
    assert [update["params"]["_meta"][ENVELOPE + "subscriptionId"] for update in updates] == [1, "1"]
    assert modern.notify("notifications/cancelled", requestId=1) == []
    *updates, _ = modern.call(3, "touch")
    assert [update["params"]["_meta"][ENVELOPE + "subscriptionId"] for update in updates] == ["1"]


def test_both_eras_are_served_by_one_process_and_both_hear_of_a_change(legacy: Driver) -> None:
    modern = Driver(MODERN_REVISION, server=legacy.server)
    legacy.result("resources/subscribe", uri=COUNTER)
    modern.request("l", "subscriptions/listen", notifications={"resourceSubscriptions": [COUNTER]})
    to_session, to_listener, answer = modern.call(1, "touch")
    assert "_meta" not in to_session["params"]
    assert to_listener["params"]["_meta"] == {ENVELOPE + "subscriptionId": "l"}
    assert answer["result"]["resultType"] == "complete"


# Calls that take time.


@every_revision
def test_counting_reports_progress_as_time_passes(revision: str) -> None:
    driver = Driver(revision)
    count = {"name": "count", "arguments": {"to": 2}, "_meta": {"progressToken": "p"}}
    assert driver.request(1, "tools/call", **count) == []
    assert driver.wait(0.1) == []
    [first] = driver.wait(0.1)
    assert first["params"] == {"progressToken": "p", "progress": 1, "total": 2, "message": "1 of 2"}
    second, answer = driver.wait(0.2)
    assert second["params"]["progress"] == 2
    assert answer["result"]["content"][0]["text"] == "Counted to 2."


@both_eras
def test_without_a_token_there_is_no_progress_to_report(revision: str) -> None:
    driver = Driver(revision)
    driver.call(1, "count", to=1)
    assert text_of(driver.wait(0.2)) == "Counted to 1."


@both_eras
def test_a_quick_call_overtakes_a_slow_one(revision: str) -> None:
    driver = Driver(revision)
    assert driver.call("slow", "count", to=1, delay_ms=1000) == []
    assert text_of(driver.call("quick", "echo", text="first")) == "first"
    [answer] = driver.wait(1)
    assert answer["id"] == "slow"


@both_eras
def test_a_cancelled_call_is_never_heard_of_again(revision: str) -> None:
    driver = Driver(revision)
    driver.call(1, "count", to=3)
    driver.call("1", "count", to=1)
    assert driver.notify("notifications/cancelled", requestId=1) == []
    [answer] = driver.wait(10)
    assert answer["id"] == "1"
    assert driver.server.seconds_to_wait(driver.now) is None


@both_eras
def test_an_id_in_flight_can_not_be_used_twice(revision: str) -> None:
    driver = Driver(revision)
    driver.call(1, "count", to=1)
    assert error_of(driver.call(1, "echo", text="a"))["code"] == -32600
    assert text_of(driver.wait(1)) == "Counted to 1."


# Tools that ask back.


def answer_to(question: Json, result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": question["id"], "result": result}


ADA = {"action": "accept", "content": {"name": "Ada"}}
MODEL = {"role": "assistant", "content": {"type": "text", "text": "Good day."}, "model": "a model"}
ROOTS = {"roots": [{"uri": "file:///a"}, {"uri": "file:///b"}]}

# The revisions in which each may be asked.
QUESTIONS = [
    ("ask_name", {}, "elicitation/create", ADA, "Hello, Ada!", LEGACY_REVISIONS[2:]),
    ("ask_name", {}, "elicitation/create", {"action": "decline"}, "You would rather not say.", LEGACY_REVISIONS[2:]),
    ("ask_model", {"prompt": "?"}, "sampling/createMessage", MODEL, "The model says: Good day.", LEGACY_REVISIONS),
    ("list_roots", {}, "roots/list", ROOTS, "file:///a\nfile:///b", LEGACY_REVISIONS),
]


@pytest.mark.parametrize(("tool", "arguments", "method", "answer", "text", "revisions"), QUESTIONS)
def test_a_legacy_client_is_asked_by_a_request_while_its_call_waits(
    tool: str, arguments: Json, method: str, answer: Json, text: str, revisions: tuple[str, ...]
) -> None:
    for revision in revisions:
        driver = Driver(revision)
        [question] = driver.call(1, tool, **arguments)
        assert question["method"] == method
        assert text_of(driver.call(2, "echo", text="meanwhile")) == "meanwhile"
        assert text_of(driver.send(answer_to(question, answer))) == text
        assert driver.send(answer_to(question, answer)) == []  # too late: it has its answer


@pytest.mark.parametrize(("tool", "arguments", "method", "answer", "text", "revisions"), QUESTIONS)
def test_a_modern_client_is_told_what_input_is_required_and_calls_again_with_it(
    tool: str, arguments: Json, method: str, answer: Json, text: str, revisions: object, modern: Driver
) -> None:
    asked = result_of(modern.call(1, tool, **arguments))
    assert asked["resultType"] == "input_required"
    [(key, question)] = asked["inputRequests"].items()
    assert question["method"] == method
    again = {"name": tool, "arguments": arguments, "requestState": asked["requestState"]}
    assert text_of(modern.request(2, "tools/call", **again, inputResponses={key: answer})) == text


def test_two_questions_to_a_legacy_client_come_one_after_the_other(legacy: Driver) -> None:
    [first] = legacy.call(1, "introduce")
    [second] = legacy.send(answer_to(first, ADA))
    assert (first["method"], second["method"]) == ("elicitation/create", "sampling/createMessage")
    assert first["id"] != second["id"]
    listed = MODEL | {"content": [MODEL["content"]]}
    assert text_of(legacy.send(answer_to(second, listed))) == "The model says to Ada: Good day."


def test_two_questions_to_a_modern_client_are_two_rounds_and_the_state_keeps_the_first_answer(modern: Driver) -> None:
    call: Json = {"name": "introduce", "arguments": {}}
    first = result_of(modern.request(1, "tools/call", **call))
    answered = {"requestState": first["requestState"], "inputResponses": {"question-1": ADA}}
    second = result_of(modern.request(2, "tools/call", **call, **answered))
    assert second["inputRequests"]["question-2"]["params"]["messages"][0]["content"]["text"] == "Greet Ada."
    answered = {"requestState": second["requestState"], "inputResponses": {"question-2": MODEL}}
    # Another process serves it as well: the request carries all there is to know.
    elsewhere = Driver(MODERN_REVISION)
    assert text_of(elsewhere.request(3, "tools/call", **call, **answered)) == "The model says to Ada: Good day."


def test_a_modern_client_that_does_not_answer_is_asked_again(modern: Driver) -> None:
    first = result_of(modern.call(1, "ask_name"))
    again = {"name": "ask_name", "arguments": {}, "requestState": first["requestState"]}
    for responses in ({}, {"something else": ADA}):
        second = result_of(modern.request(2, "tools/call", **again, inputResponses=responses))
        assert second["inputRequests"] == first["inputRequests"]


@pytest.mark.parametrize("state", [1, "", "nonsense", "[]", "[" * 100_000, '{"of": ["introduce", {}], "answers": []}'])
def test_a_state_of_another_call_is_refused(state: Any, modern: Driver) -> None:
    error = modern.error("tools/call", name="ask_name", arguments={}, requestState=state, inputResponses={})
    assert error["code"] == -32602


@pytest.mark.parametrize(
    ("tool", "capability"), [("ask_name", "elicitation"), ("ask_model", "sampling"), ("list_roots", "roots")]
)
def test_a_client_is_never_asked_what_it_has_not_declared(tool: str, capability: str) -> None:
    arguments = {"prompt": "?"} if tool == "ask_model" else {}
    [answer] = Driver(LEGACY_REVISIONS[-1], {}).call(1, tool, **arguments)
    assert answer["result"]["isError"] is True
    assert capability in answer["result"]["content"][0]["text"]
    error = error_of(Driver(MODERN_REVISION, {}).call(1, tool, **arguments))
    assert (error["code"], error["data"]) == (-32021, {"requiredCapabilities": {capability: {}}})


def test_a_client_that_elicits_only_by_url_is_shown_no_form() -> None:
    by_url: Json = {"elicitation": {"url": {}}}
    assert error_of(Driver(MODERN_REVISION, by_url).call(1, "ask_name"))["code"] == -32021
    with_form: Json = {"elicitation": {"url": {}, "form": {}}}
    assert result_of(Driver(MODERN_REVISION, with_form).call(1, "ask_name"))["resultType"] == "input_required"


def test_a_cancelled_call_takes_its_question_back(legacy: Driver) -> None:
    [question] = legacy.call(1, "ask_name")
    [withdrawal] = legacy.notify("notifications/cancelled", requestId=1)
    assert (withdrawal["method"], withdrawal["params"]) == ("notifications/cancelled", {"requestId": question["id"]})
    assert legacy.send(answer_to(question, ADA)) == []


def test_a_client_that_can_not_answer_fails_the_call_and_nothing_else(legacy: Driver) -> None:
    [question] = legacy.call(1, "ask_name")
    refusal = {"jsonrpc": "2.0", "id": question["id"], "error": {"code": -1, "message": "nobody is here"}}
    result = result_of(legacy.send(refusal))
    assert result["isError"] is True
    assert "nobody is here" in result["content"][0]["text"]
    strange: list[Any] = [{}, {"action": "accept"}, {"action": "accept", "content": {"name": 1}}, []]
    for nonsense in strange:
        [question] = legacy.call(2, "ask_name")
        [answer] = legacy.send({"jsonrpc": "2.0", "id": question["id"], "result": nonsense})
        assert answer["result"]["isError"] is True
    assert text_of(legacy.call(3, "echo", text="still here")) == "still here"


def test_a_fault_in_one_call_is_an_internal_error_and_its_traceback_goes_to_stderr(
    legacy: Driver, capsys: pytest.CaptureFixture[str]
) -> None:
    [question] = legacy.call(1, "list_roots")
    legacy.call(2, "count", to=1)
    assert error_of(legacy.send(answer_to(question, {"roots": [{}]})))["code"] == -32603
    assert "KeyError: 'uri'" in capsys.readouterr().err
    assert text_of(legacy.wait(1)) == "Counted to 1."


# The process.


@contextmanager
def running_demo() -> Iterator[subprocess.Popen[bytes]]:
    """Run the demo; it is gone when the block has ended."""
    command = [sys.executable, "-m", "trioproxy.demo"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


def run_demo(stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run the demo until the end of `stdin`."""
    return subprocess.run([sys.executable, "-m", "trioproxy.demo"], input=stdin, capture_output=True, timeout=30)


def pipes(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin.fileno(), process.stdout.fileno()


def read_line(fd: int) -> Json:
    line = bytearray()
    while not line.endswith(b"\n"):
        assert select.select([fd], [], [], 30)[0], "nothing came"
        piece = os.read(fd, 1)
        assert piece, f"the end came after {bytes(line)!r}"
        line += piece
    message: Json = json.loads(line)
    return message


PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
PONG = b'{"jsonrpc":"2.0","id":1,"result":{}}\n'
HELLO = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize",'
    b'"params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a test","version":"1"}}}\n'
)
COUNT = b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"count","arguments":{"to":%d,"delay_ms":%d}}}\n'


def test_the_end_of_input_ends_the_process_orderly_and_leaves_only_messages_on_stdout() -> None:
    ended = run_demo(PING + b"\n" + PING)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, PONG * 2, b"")


def test_the_end_of_input_does_not_wait_for_calls_in_flight() -> None:
    ended = run_demo(HELLO + COUNT % (1_000_000, 60_000))
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.count(b"\n") == 1


def test_a_line_that_is_cut_off_by_the_end_of_input_is_no_message() -> None:
    ended = run_demo(PING + PING[:-1])
    assert (ended.returncode, ended.stdout) == (0, PONG)


def test_a_line_of_a_megabyte_arrives_whole_however_the_pipe_cuts_it() -> None:
    text = "x" * 1_000_000
    call = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": text}}}
    ended = run_demo(HELLO + json.dumps(call).encode() + b"\n" + PING)
    _, answer, pong = ended.stdout.splitlines()
    assert json.loads(answer)["result"]["content"][0]["text"] == text
    assert pong == PONG.strip()


def test_a_slow_call_holds_up_nobody_and_finishes_in_its_time() -> None:
    with running_demo() as process:
        stdin, stdout = pipes(process)
        os.write(stdin, HELLO + COUNT % (3, 1) + PING)
        assert [read_line(stdout)["id"] for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_without_a_traceback(number: signal.Signals) -> None:
    with running_demo() as process:
        stdin, stdout = pipes(process)
        os.write(stdin, PING)
        read_line(stdout)
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_signal_ends_the_process_even_while_nobody_reads_what_it_says() -> None:
    call = {"name": "echo", "arguments": {"text": "x" * 1_000_000}}
    with running_demo() as process:
        stdin, stdout = pipes(process)
        os.write(stdin, HELLO)
        read_line(stdout)
        line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}).encode() + b"\n"
        assert os.write(stdin, line) == len(line)
        assert select.select([stdout], [], [], 30)[0]  # it has begun to write, more than the pipe can hold
        process.terminate()
        assert process.wait(30) == 0


def test_a_client_that_is_gone_ends_the_process_quietly() -> None:
    with running_demo() as process:
        stdin, stdout = pipes(process)
        os.write(stdin, PING)
        read_line(stdout)
        assert process.stdout is not None
        process.stdout.close()
        os.write(stdin, PING)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_it_starts_without_the_modules_that_would_make_it_slow() -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "trioproxy.demo"], input=PING, capture_output=True, timeout=30
    )
    imported = {line.rpartition(b"|")[2].strip().decode() for line in ended.stderr.splitlines()}
    assert ended.stdout == PONG
    assert "trioproxy.demo.server" in imported
    heavy = {"trio", "mcp", "pydantic", "anyio", "asyncio", "hypercorn", "h11", "ssl", "socket", "subprocess", "logging"}
    assert imported & (heavy | {"dataclasses", "inspect", "argparse", "trioproxy.config", "trioproxy.server"}) == set()


# The official client.


class Host:
    """What an application does behind the official client: it answers questions, and remembers what it was told."""

    def __init__(self) -> None:
        self.logs: list[str] = []
        self.told: list[str] = []
        self.heard = asyncio.Event()

    async def elicit(self, context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def sample(
        self, context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult:
        content = types.TextContent(type="text", text="Good day.")
        return types.CreateMessageResult(role="assistant", content=content, model="a model")

    async def list_roots(self, context: ClientRequestContext) -> types.ListRootsResult:
        return types.ListRootsResult.model_validate(ROOTS)

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logs.append(params.data)

    async def take(self, message: object) -> None:
        self.told.append(type(message).__name__)
        self.heard.set()


def with_official_client(mode: str, story: Callable[[Client, Host], Awaitable[None]]) -> None:
    """Let `story` happen between the official client and the real process, and leave no process behind."""

    async def run() -> None:
        host = Host()
        client = Client(
            StdioServerParameters(command=sys.executable, args=["-m", "trioproxy.demo"]),
            mode=mode,
            read_timeout_seconds=30,
            elicitation_callback=host.elicit,
            sampling_callback=host.sample,
            list_roots_callback=host.list_roots,
            logging_callback=host.log,
            log_level="info",
            message_handler=host.take,
        )
        async with asyncio.timeout(60), client:
            await story(client, host)

    asyncio.run(run())


def said(result: types.CallToolResult) -> str:
    assert not result.is_error
    [content] = result.content
    assert isinstance(content, types.TextContent)
    return content.text


@pytest.mark.parametrize(("mode", "version"), [("legacy", "2025-11-25"), ("auto", "2026-07-28"), ("2026-07-28",) * 2])
def test_the_official_client_finds_everything_in_either_era(mode: str, version: str) -> None:
    async def story(client: Client, host: Host) -> None:
        assert client.protocol_version == version
        # A client that pins its revision does not ask who we are.
        assert client.server_info is None or client.server_info.name == "trioproxy-demo"
        reported: list[float] = []

        async def report(progress: float, total: float | None, message: str | None) -> None:
            reported.append(progress)

        assert said(await client.call_tool("echo", {"text": "hello"})) == "hello"
        assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"sum": 3}
        counted = await client.call_tool("count", {"to": 3, "delay_ms": 1}, progress_callback=report)
        assert (said(counted), reported) == ("Counted to 3.", [1, 2, 3])
        assert said(await client.call_tool("log", {"text": "a word"})) == "Logged at level info."
        assert host.logs == ["a word"]
        assert said(await client.call_tool("introduce")) == "The model says to Ada: Good day."
        assert said(await client.call_tool("list_roots")) == "file:///a\nfile:///b"
        [content] = (await client.read_resource("demo://square/5")).contents
        assert isinstance(content, types.TextResourceContents)
        assert content.text == "25"
        assert (await client.get_prompt("greet", {"name": "Ada"})).messages
        ref = types.PromptReference(type="ref/prompt", name="greet")
        assert (await client.complete(ref, {"name": "name", "value": "G"})).completion.values == ["Grace"]

    with_official_client(mode, story)


# It warns of what 2026-07-28 has removed, which is what we are here for.
@pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")
def test_the_official_client_hears_of_changes_in_a_legacy_session() -> None:
    async def story(client: Client, host: Host) -> None:
        await client.send_ping()
        await client.subscribe_resource(COUNTER)
        await client.call_tool("touch")
        await client.call_tool("grow")
        while len(host.told) < 3:
            host.heard.clear()
            await host.heard.wait()
        assert sorted(host.told) == [
            "ResourceListChangedNotification",
            "ResourceUpdatedNotification",
            "ToolListChangedNotification",
        ]

    with_official_client("legacy", story)


def test_the_official_client_hears_of_changes_through_a_modern_subscription() -> None:
    async def story(client: Client, host: Host) -> None:
        async with client.listen(tools_list_changed=True, resource_subscriptions=[COUNTER]) as subscription:
            await client.call_tool("grow")
            await client.call_tool("touch")
            kinds = {type(await anext(subscription)).__name__ for _ in range(2)}
        assert kinds == {"ToolsListChanged", "ResourceUpdated"}

    with_official_client("2026-07-28", story)


def test_it_answers_within_a_tenth_of_a_second_of_being_started() -> None:
    """The best of five, since a busy machine can be slower than that at anything."""
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        ping = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
        done = subprocess.run([sys.executable, "-m", "trioproxy.demo"], input=ping, capture_output=True, check=True)
        times.append(time.perf_counter() - begun)
        assert json.loads(done.stdout) == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert min(times) < 0.1
