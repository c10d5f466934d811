"""How a host opens tells its era, and that what stands between it and the server (2026-07-28, Versioning)."""

from __future__ import annotations

import itertools
import json
from typing import Any, Literal

import pytest

from tests.protocol.modern_to_legacy.desk import envelope, line, modern_request
from trioproxy.protocol.host_era import HostEra, opens_modern
from trioproxy.protocol.messages import parse_line, recognise
from trioproxy.protocol.translation import Related, Step

Era = Literal["auto", "legacy", "modern"]
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}}
INTRODUCTION = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "old", "version": "1"}}
MODERN = {"supportedVersions": ["2026-07-28"], "capabilities": {}, "resultType": "complete"}


class Between:
    """The translator, and who speaks on its two sides."""

    def __init__(self, era: Era) -> None:
        numbers = itertools.count(1)
        self.translator = HostEra(era, "server", lambda: f"id-{next(numbers)}")

    def host(self, **members: Any) -> Step:
        return self.translator.from_client(parse_line(line(**members)), 0)

    def server(self, **members: Any) -> Step:
        return self.translator.from_server(recognise(line(**members)), 0)


def methods(step: Step) -> list[str]:
    """Return which requests and notifications reach the server."""
    return [json.loads(raw)["method"] for raw in step.to_server]


def ids(step: Step) -> list[Any]:
    """Return which responses reach the host."""
    return [json.loads(m.raw if isinstance(m, Related) else m)["id"] for m in step.to_client]


@pytest.mark.parametrize(
    ("members", "is_modern"),
    [
        ({"id": 1, "method": "initialize", "params": INITIALIZE}, False),
        ({"id": 1, "method": "initialize", "params": {"_meta": envelope()}}, True),
        ({"id": 1, "method": "server/discover", "params": {"_meta": envelope()}}, True),
        ({"id": 1, "method": "server/discover"}, True),
        ({"id": 1, "method": "tools/list", "params": {"_meta": envelope()}}, True),
        ({"id": 1, "method": "tools/list"}, False),
        ({"id": 1, "method": "ping"}, False),
        ({"method": "notifications/initialized"}, False),
        ({"id": 1, "result": {}}, False),
    ],
)
def test_the_first_message_tells(members: Any, is_modern: bool) -> None:
    assert opens_modern(parse_line(line(**members))) is is_modern


def test_a_legacy_host_before_a_legacy_server_is_left_alone() -> None:
    between = Between("legacy")
    assert not between.translator.is_transparent
    raw = line(id=0, method="initialize", params=INITIALIZE)
    assert between.translator.from_client(parse_line(raw), 0) == Step(to_server=(raw,))
    assert between.translator.is_transparent


def test_a_modern_host_before_a_modern_server_is_left_alone() -> None:
    between = Between("modern")
    request = modern_request(1, "tools/list")
    assert between.translator.from_client(request, 0) == Step(to_server=(request.raw,))
    answer = line(id=1, result={})
    assert between.translator.from_server(recognise(answer), 0) == Step((answer,))
    assert between.translator.from_server(recognise(answer), 0, 1) == Step((Related(answer, 1),))


def test_a_legacy_host_before_a_modern_server_does_not_try_a_handshake() -> None:
    assert methods(Between("modern").host(id=0, method="initialize", params=INITIALIZE)) == ["server/discover"]


def test_a_legacy_host_before_an_unknown_server_tries_one() -> None:
    between = Between("auto")
    assert methods(between.host(id=0, method="initialize", params=INITIALIZE)) == ["initialize"]
    assert methods(between.server(id=0, error={"code": -32022, "message": "no"})) == ["server/discover"]


def test_a_modern_host_before_a_legacy_server_has_it_initialized() -> None:
    assert methods(Between("legacy").translator.from_client(modern_request(1, "tools/list"), 0)) == ["initialize"]


def test_a_modern_host_before_an_unknown_server_has_it_asked() -> None:
    assert methods(Between("auto").translator.from_client(modern_request(1, "tools/list"), 0)) == ["server/discover"]


@pytest.mark.parametrize("era", ["auto", "legacy", "modern"])
def test_a_host_that_has_probed_and_falls_back_is_a_legacy_one(era: Era) -> None:
    between = Between(era)
    between.translator.from_client(modern_request("p", "server/discover"), 0)
    expected = {"auto": "initialize", "legacy": "initialize", "modern": "server/discover"}[era]
    assert methods(between.host(id=0, method="initialize", params=INITIALIZE)) == [expected]
    assert between.translator.host_is_modern is False


def test_a_host_that_falls_back_after_an_answer_is_served() -> None:
    between = Between("auto")
    between.translator.from_client(modern_request("p", "server/discover"), 0)
    assert ids(between.server(id="p", result=MODERN)) == ["p"]
    between.host(id=0, method="initialize", params=INITIALIZE)
    step = between.server(id=0, result=INTRODUCTION)
    assert ids(step) == [0]
    assert between.translator.is_transparent


def test_a_legacy_host_stays_one() -> None:
    between = Between("legacy")
    between.host(id=0, method="initialize", params=INITIALIZE)
    request = modern_request(1, "tools/list")
    assert between.translator.from_client(request, 0) == Step(to_server=(request.raw,))


def test_a_server_that_could_not_be_reached_is_asked_anew_with_the_next_request() -> None:
    between = Between("auto")
    refused = {"code": -32603, "message": "connection refused"}
    between.translator.from_client(modern_request("p", "server/discover"), 0)
    assert methods(between.server(id="p", error=refused)) == ["initialize"]
    assert ids(between.server(id="trioproxy:1", error=refused)) == ["p"]
    assert methods(between.translator.from_client(modern_request("q", "server/discover"), 0)) == ["server/discover"]
    assert ids(between.server(id="q", result=MODERN)) == ["q"]


def test_nothing_is_due_before_anything_was_said() -> None:
    translator = HostEra("auto", "server", lambda: "id")
    assert translator.deadline == float("inf")
    assert translator.wake(0) == Step()
    log = line(method="notifications/message", params={})
    assert translator.from_server(recognise(log), 0) == Step((log,))
