"""A recorded session, played back: what the server says to a client that says its own again."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import modern
from tests.puppet import log, notification, progress, request, response
from trioproxy.protocol.messages import parse_line
from trioproxy.protocol.playback import Playback

from .test_scenes import ASKED, CHANGED, INITIALIZED, messages, news, recorded


class Player:
    """A client of a recording, and the time."""

    def __init__(self, *passed: Any, speed: float = math.inf) -> None:
        self.playback = Playback(recorded(*passed).scenes, speed)

    def say(self, message: Any, now: float = 0.0) -> list[Any]:
        raw = message if isinstance(message, bytes) else json.dumps(message).encode()
        return [json.loads(line) for line in self.playback.from_client(parse_line(raw), now)]

    def refusal(self, message: Any) -> tuple[int, str]:
        (answer,) = self.say(message)
        return answer["error"]["code"], answer["error"]["message"]


def exchange(method: str, answer: str, **params: Any) -> list[tuple[str, Any]]:
    return [(">", request(method, 1, **params)), ("<", response(1, answer=answer))]


# What is asked


def test_an_answer_comes_under_the_new_id() -> None:
    player = Player(*exchange("a", "x"), *exchange("b", "y"))
    assert player.say(request("b", "mine")) == [response("mine", answer="y")]
    assert player.say(request("a", 7)) == [response(7, answer="x")]


def test_the_same_request_is_answered_as_it_was_each_time_and_then_as_the_last_time() -> None:
    player = Player(*exchange("a", "1"), *exchange("a", "2"), *exchange("a", "else", x=1))
    assert [player.say(request("a", n))[0]["result"]["answer"] for n in range(4)] == ["1", "2", "2", "2"]
    assert player.say(request("a", 9, x=1)) == [response(9, answer="else")]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ({}, {"_meta": {"progressToken": 1, "claudecode/toolUseId": "x"}}, True),
        ({"_meta": {"traceparent": "00-1"}}, {"_meta": {"traceparent": "00-2"}}, True),
        ({"inputResponses": {"q": {"action": "accept"}}}, {"inputResponses": {"q": {"action": "decline"}}}, True),
        ({"inputResponses": {"q": {}}}, {"inputResponses": {"r": {}}}, False),
        ({"requestState": "1"}, {"requestState": "2"}, False),
        ({"cursor": "1"}, {"cursor": "2"}, False),
        ({"cursor": "1"}, {}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": "\ud83d"}, {"a": "\ud83d"}, True),
        ({"a": {"_meta": 1}}, {"a": {"_meta": 2}}, False),
    ],
)
def test_a_request_is_known_by_its_method_and_what_it_asks(one: Any, other: Any, is_same: bool) -> None:
    (answer,) = Player(*exchange("a", "x", **one)).say(request("a", 2, **other))
    assert ("result" in answer) == is_same


def test_who_introduces_itself_does_not_count() -> None:
    initialize = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a"}}
    player = Player(*exchange("initialize", "hello", **initialize))
    newer = request("initialize", 2, protocolVersion="2025-11-25", capabilities={"roots": {}}, clientInfo={"name": "b"})
    assert player.say(newer) == [response(2, answer="hello")]
    discover = modern.request("server/discover", 1)
    player = Player((">", discover), ("<", response(1, answer="hello")))
    assert player.say(modern.request("server/discover", 2, client="other")) == [response(2, answer="hello")]


def test_what_was_never_recorded_is_refused_and_the_nearest_is_named() -> None:
    player = Player(*exchange("tools/call", "x", name="echo", arguments={"text": "hello"}), *exchange("tools/list", "y"))
    code, message = player.refusal(request("tools/call", name="echo", arguments={"text": "hullo"}))
    assert (code, message.split("; ")) == (
        -32602,
        [
            'never recorded: tools/call {"arguments":{"text":"hullo"},"name":"echo"}',
            'the nearest that was: tools/call {"arguments":{"text":"hello"},"name":"echo"}',
        ],
    )
    assert player.refusal(request("tools/lost")) == (
        -32601,
        "never recorded: tools/lost {}; the nearest that was: tools/list {}",
    )
    code, message = player.refusal(request("tools/call", name="x" * 10_000))
    assert (code, len(message) < 1000) == (-32602, True)
    assert Player().refusal(request("a")) == (-32601, "never recorded: a {}")


def test_a_ping_needs_no_recording() -> None:
    assert Player().say(request("ping", "p")) == [response("p")]


def test_a_recording_without_its_beginning_can_be_entered_all_the_same() -> None:
    player = Player(*exchange("tools/list", "x"))
    (answer,) = player.say(request("initialize", 0, protocolVersion="2025-06-18"))
    assert answer["result"]["protocolVersion"] == "2025-06-18"
    assert answer["result"]["capabilities"] == {"tools": {}}
    # Nobody is to take it for a modern server.
    assert player.refusal(modern.request("server/discover", 0))[0] == -32601
    player = Player((">", modern.request("resources/list")), ("<", response(1)))
    (answer,) = player.say(modern.request("server/discover", 0))
    assert (answer["result"]["supportedVersions"], answer["result"]["capabilities"]) == (["2026-07-28"], {"resources": {}})
    assert player.refusal(request("initialize", 0, protocolVersion="2025-06-18"))[0] == -32601


def test_a_request_that_had_no_answer_yet_is_told_so() -> None:
    player = Player((">", request("a", 1)), ("<", log("so far")))
    said, error = player.say(request("a", 5))
    assert (said, error["id"]) == (log("so far"), 5)
    assert error["error"] == {"code": -32603, "message": "the recording ends before a is answered"}


def test_a_list_of_a_modern_server_is_that_of_its_time_however_often_it_is_asked_for() -> None:
    """Whoever caches it asks when it likes (2026-07-28, Caching)."""

    def asking(method: str, number: int) -> dict[str, Any]:
        return modern.request(method, number)

    passed: list[tuple[str, Any]] = []
    for number, method in enumerate(["tools/list", "tools/call", "tools/list"]):
        passed += [(">", asking(method, number)), ("<", response(number, answer=number))]
    player = Player(*passed)
    for _ in range(3):
        assert player.say(asking("tools/list", 9)) == [response(9, answer=0)]
    player.say(asking("tools/call", 9))
    assert player.say(asking("tools/list", 9)) == [response(9, answer=2)]


# What is said meanwhile


def test_progress_comes_under_the_new_token_or_not_at_all() -> None:
    passed = [(">", request("a", 1, token="old")), ("<", progress("old")), ("<", response(1))]
    assert Player(*passed).say(request("a", 2, token=0)) == [progress(0), response(2)]
    assert Player(*passed).say(request("a", 2, token="ünï\ud800")) == [progress("ünï\ud800"), response(2)]
    assert Player(*passed).say(request("a", 2)) == [response(2)]


def test_notifications_are_accepted_whether_recorded_or_not() -> None:
    player = Player((">", INITIALIZED), ("<", log("ready")))
    assert player.say(notification("notifications/roots/list_changed")) == []
    assert player.say(INITIALIZED) == [log("ready")]
    assert player.say(notification("notifications/cancelled", requestId="unknown")) == []
    assert player.say(response("unknown")) == []


def test_a_request_is_not_answered_with_what_followed_a_notification() -> None:
    player = Player((">", notification("a")), ("<", log("x")))
    assert player.refusal(request("a"))[0] == -32601
    assert player.say(notification("a")) == [log("x")]


def test_what_was_said_before_anything_is_said_at_the_start() -> None:
    assert Player(("<", log("hello"))).playback.start(0) == [json.dumps(log("hello")).encode()]


def test_a_question_is_asked_and_its_answer_awaited_whatever_it_is() -> None:
    player = Player(
        (">", request("a", 1)), ("<", ASKED), ("<", log("waiting")), (">", response("q", roots=[])), ("<", response(1))
    )
    assert player.say(request("a", 5)) == [ASKED, log("waiting")]
    assert player.say(request("ping", 6)) == [response(6)]
    assert player.say({"jsonrpc": "2.0", "id": "q", "error": {"code": -1, "message": "no"}}) == [response(5)]
    assert player.say(response("q")) == []


def test_a_question_that_nobody_answered_then_is_not_waited_for() -> None:
    player = Player((">", request("a", 1)), ("<", ASKED), ("<", response(1)))
    assert player.say(request("a", 5)) == [ASKED, response(5)]
    assert player.say(response("q")) == []


def test_two_that_ask_the_same_at_the_same_time_are_told_apart() -> None:
    player = Player(
        (">", request("a", 1, token=1)), ("<", ASKED), (">", response("q")), ("<", progress(1)), ("<", response(1))
    )
    assert player.say(request("a", 5, token="five")) == [ASKED]
    assert player.say(request("a", 6, token="six")) == [{**ASKED, "id": "replay-1"}]
    assert player.say(response("q")) == [progress("five"), response(5)]
    assert player.say(response("replay-1")) == [progress("six"), response(6)]


def test_a_question_id_that_was_used_twice_is_told_apart() -> None:
    player = Player((">", request("a", 1)), ("<", ASKED), ("<", ASKED), (">", response("q")), ("<", response(1)))
    assert player.say(request("a", 5)) == [ASKED, {**ASKED, "id": "replay-1"}]
    assert player.say(response("q")) == []
    assert player.say(response("replay-1")) == [response(5)]
    assert player.say(response("replay-1")) == []


def test_a_call_that_was_cancelled_then_waits_to_be_cancelled_again() -> None:
    took_back = notification("notifications/cancelled", requestId="q")
    player = Player(
        (">", request("a", 1, token=1)),
        ("<", progress(1)),
        ("<", ASKED),
        (">", notification("notifications/cancelled", requestId=1)),
        ("<", took_back),
        (">", request("b", 2)),
        ("<", response(2)),
    )
    assert player.say(request("a", 5, token=5)) == [progress(5), ASKED]
    assert player.say(request("b", 6)) == [response(6)]
    assert player.say(notification("notifications/cancelled", requestId=5)) == [took_back]
    assert player.say(response("q")) == []
    assert player.say(notification("notifications/cancelled", requestId=5)) == []


def test_a_call_that_is_cancelled_now_says_nothing_more() -> None:
    player = Player((">", request("a", 1)), ("<", ASKED), (">", response("q")), ("<", response(1)))
    assert player.say(request("a", 5)) == [ASKED]
    assert player.say(notification("notifications/cancelled", requestId=5)) == []
    assert player.say(response("q")) == []


def test_news_come_under_the_new_subscription_when_they_happen_to_all_who_listen() -> None:
    player = Player(
        (">", request("subscriptions/listen", 1)),
        ("<", news(1)),
        (">", request("b", 2)),
        ("<", news(1)),
        ("<", response(2)),
    )
    assert player.say(request("b", 3)) == [response(3)]
    assert player.say(request("subscriptions/listen", 4)) == [news(4)]
    assert player.say(request("subscriptions/listen", "five")) == [news("five")]
    assert player.say(request("b", 6)) == [news(4), news("five"), response(6)]
    assert player.say(notification("notifications/cancelled", requestId=4)) == []
    assert player.say(request("b", 7)) == [news("five"), response(7)]


def test_a_refused_subscription_is_refused_again() -> None:
    refused = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no"}}
    player = Player((">", request("subscriptions/listen", 1)), ("<", refused))
    assert player.say(request("subscriptions/listen", 2)) == [{**refused, "id": 2}]


# Time


def test_pauses_are_as_long_as_they_were_or_in_proportion() -> None:
    passed = [(">", request("a", 1)), ("<", log("1")), ("<", log("2")), ("<", response(1)), ("<", CHANGED)]
    player = Player(*passed, speed=2)
    assert player.say(request("a", 5), now=100) == []
    assert player.playback.deadline == 100.5
    assert player.playback.wake(100.25) == []
    assert player.playback.wake(100.5) == [json.dumps(log("1")).encode()]
    assert player.playback.deadline == 101
    # Late is not lost, and what follows is not late.
    assert [json.loads(line) for line in player.playback.wake(101.75)] == [log("2"), response(5)]
    assert player.playback.deadline == 102
    assert [json.loads(line) for line in player.playback.wake(102)] == [CHANGED]
    assert player.playback.deadline == math.inf


def test_time_goes_on_with_the_answer_that_was_waited_for() -> None:
    player = Player((">", request("a", 1)), ("<", ASKED), (">", response("q")), ("<", response(1)), speed=1)
    assert player.say(request("a", 5), now=0) == []
    assert [json.loads(line) for line in player.playback.wake(1)] == [ASKED]
    assert player.playback.deadline == math.inf
    assert player.say(response("q"), now=50) == []
    assert player.playback.deadline == 51


def test_a_call_that_is_cancelled_in_a_pause_is_over() -> None:
    player = Player((">", request("a", 1)), ("<", log("1")), ("<", response(1)), speed=1)
    assert player.say(request("a", 5), now=0) == []
    assert player.say(notification("notifications/cancelled", requestId=5), now=0.5) == []
    assert player.playback.deadline == math.inf


passages = st.lists(st.tuples(st.sampled_from("<>"), messages), max_size=20)
said_by_client = st.lists(messages.filter(lambda message: isinstance(message, dict)), max_size=20)


@given(passages, said_by_client, st.sampled_from([1.0, math.inf]))
def test_any_client_can_meet_any_recording(passed: list[Any], said: list[Any], speed: float) -> None:
    player = Player(*passed, speed=speed)
    player.playback.start(0)
    now = 0.0
    for message in said:
        for answer in player.say(message, now):
            assert answer["jsonrpc"] == "2.0"
        now += 0.5
        player.playback.wake(now)
    while player.playback.deadline < math.inf:
        now = player.playback.deadline
        player.playback.wake(now)
