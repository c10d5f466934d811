"""A server of unknown era is asked which it is (2026-07-28, Transports §stdio, Backward Compatibility)."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest

from tests.protocol.modern_to_legacy.desk import Said, envelope, line, modern_request
from trioproxy.protocol.errors import InvalidRequest
from trioproxy.protocol.messages import Request, parse_line, recognise
from trioproxy.protocol.modern_to_legacy import ModernToLegacy
from trioproxy.protocol.modern_to_unknown import PROBE_ID, ModernToUnknown
from trioproxy.protocol.translation import Related, Step

NOTHING = Step()
MODERN = {"supportedVersions": ["2026-07-28"], "capabilities": {}, "resultType": "complete"}
CALL = {"name": "a"}


def new_translator() -> ModernToUnknown:
    states = (f"state-{n}" for n in itertools.count(1))
    return ModernToUnknown(ModernToLegacy(lambda: next(states)), probe_time=10)


def ask(translator: ModernToUnknown, request: Request, now: float = 0) -> Step:
    return translator.from_client(request, now)


def answer(translator: ModernToUnknown, **members: Any) -> Step:
    return translator.from_server(recognise(line(**members)), 1)


def decoded(step: Step) -> Said:
    assert all(isinstance(message, bytes) for message in step.to_client)
    return Said([json.loads(m) for m in step.to_client if isinstance(m, bytes)], list(map(json.loads, step.to_server)), [])


def test_the_clients_own_probe_is_passed_on_and_its_answer_too() -> None:
    translator = new_translator()
    probe = modern_request("p", "server/discover")
    assert ask(translator, probe) == Step(to_server=(probe.raw,))
    result = line(id="p", result=MODERN)
    assert translator.from_server(recognise(result), 1) == Step((result,))
    assert (translator.is_modern, translator.is_transparent) == (True, True)


def test_another_request_waits_until_the_server_has_been_asked_in_its_clients_name() -> None:
    translator = new_translator()
    first, second = modern_request(1, "tools/call", CALL, {"roots": {}}, progressToken=7), modern_request(2, "tools/list")
    assert decoded(ask(translator, first)) == Said(
        [],
        [{"jsonrpc": "2.0", "id": PROBE_ID, "method": "server/discover", "params": {"_meta": envelope({"roots": {}})}}],
        [],
    )
    assert ask(translator, second) == NOTHING
    assert answer(translator, id=PROBE_ID, result=MODERN) == Step(to_server=(first.raw, second.raw))
    third = modern_request(3, "tools/list")
    assert ask(translator, third) == Step(to_server=(third.raw,))
    log = line(method="notifications/message", params={})
    assert translator.from_server(recognise(log), 1) == Step((log,))
    assert translator.from_server(recognise(log), 1, 3) == Step((Related(log, 3),))


@pytest.mark.parametrize(
    "error",
    [
        {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"]}},
        {"code": -32021, "message": "more capabilities"},
    ],
)
def test_an_error_of_the_modern_era_is_a_modern_servers(error: Any) -> None:
    translator = new_translator()
    ask(translator, modern_request("p", "server/discover"))
    refusal = line(id="p", error=error)
    assert translator.from_server(recognise(refusal), 1) == Step((refusal,))
    assert translator.is_modern


@pytest.mark.parametrize(
    "members",
    [
        {"error": {"code": -32601, "message": "Method not found"}},
        {"error": {"code": -32022, "message": "no", "data": {"supported": ["2027-01-01"]}}},
        {"result": {}},
    ],
)
def test_any_other_answer_is_a_legacy_servers_who_is_initialized_then(members: Any) -> None:
    """And the client's probe is answered with what that says of itself."""
    translator = new_translator()
    ask(translator, modern_request("p", "server/discover"))
    said = decoded(answer(translator, id="p", **members))
    assert [message["method"] for message in said.to_server] == ["initialize"]
    assert said.to_client == []
    result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "old", "version": "1"}}
    said = decoded(answer(translator, id="trioproxy:1", result=result))
    assert [message["method"] for message in said.to_server] == ["notifications/initialized"]
    assert [(m["id"], m["result"]["supportedVersions"]) for m in said.to_client] == [("p", ["2026-07-28"])]
    assert (translator.is_modern, translator.is_transparent) == (False, False)


def test_a_server_that_does_not_answer_the_probe_is_a_legacy_one() -> None:
    translator = new_translator()
    assert translator.deadline == math.inf
    ask(translator, modern_request(1, "tools/list"), now=5)
    assert translator.deadline == 15
    said = decoded(translator.wake(15))
    assert [message["method"] for message in said.to_server] == ["initialize"]
    assert translator.is_modern is False
    # A late answer changes nothing.
    assert answer(translator, id=PROBE_ID, result=MODERN) == NOTHING
    assert translator.is_modern is False


def test_a_request_that_is_cancelled_while_it_waits_is_never_made() -> None:
    translator = new_translator()
    ask(translator, modern_request(1, "tools/list"))
    second = modern_request(2, "tools/list")
    ask(translator, second)
    cancelled = parse_line(line(method="notifications/cancelled", params={"requestId": 1}))
    assert translator.from_client(cancelled, 0) == NOTHING
    assert answer(translator, id=PROBE_ID, result=MODERN) == Step(to_server=(second.raw,))


def test_a_probe_that_its_client_has_cancelled_still_decides() -> None:
    translator = new_translator()
    ask(translator, modern_request("p", "server/discover"))
    translator.from_client(parse_line(line(method="notifications/cancelled", params={"requestId": "p"})), 0)
    assert answer(translator, id="p", result=MODERN) == NOTHING
    assert translator.is_modern


def test_two_requests_with_one_id_are_not_made() -> None:
    translator = new_translator()
    ask(translator, modern_request(1, "tools/list"))
    with pytest.raises(InvalidRequest):
        ask(translator, modern_request(1, "tools/list"))


def test_a_server_that_takes_part_in_neither_era_is_refused() -> None:
    translator = new_translator()
    ask(translator, modern_request("p", "server/discover"))
    answer(translator, id="p", error={"code": -32603, "message": "connection refused"})
    assert not translator.is_refused
    said = decoded(answer(translator, id="trioproxy:1", error={"code": -32603, "message": "connection refused"}))
    assert [(message["id"], message["error"]["code"]) for message in said.to_client] == [("p", -32603)]
    assert translator.is_refused


def test_what_the_server_says_before_it_is_asked_goes_nowhere() -> None:
    assert answer(new_translator(), method="notifications/message", params={"level": "info"}) == NOTHING
