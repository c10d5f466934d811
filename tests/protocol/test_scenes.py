"""A recorded session, taken apart: what the server said, by what made it say so."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.puppet import log, notification, progress, request, response
from trioproxy.protocol.meta_keys import SUBSCRIPTION_ID
from trioproxy.protocol.recording import TO_CLIENT, TO_SERVER, Entry
from trioproxy.protocol.scenes import Heard, Recorded, Scene


def recorded(*passed: tuple[str, Any] | tuple[str, Any, dict[str, Any]]) -> Recorded:
    """Return what is recorded when these messages pass, a second apart: ">" to the server, "<" to the client."""
    session = Recorded()
    for second, (way, message, *more) in enumerate(passed, 1):
        raw = message if isinstance(message, bytes) else json.dumps(message).encode()
        places = more[0] if more else {}
        session.add(Entry("", TO_SERVER if way == ">" else TO_CLIENT, raw, **places), float(second))
    return session


def script(scene: Scene) -> list[Any]:
    """Return what is said in a scene, and where the client is heard."""
    return [line.id if isinstance(line, Heard) else json.loads(line.message.raw) for line in scene.lines]


def listing(session: Recorded) -> list[list[Any]]:
    assert session.skipped == []
    return [script(scene) for scene in session.scenes]


CHANGED = notification("notifications/tools/list_changed")
ASKED = request("roots/list", "q")
INITIALIZED = notification("notifications/initialized")


def news(subscription: int | str) -> dict[str, Any]:
    return notification("notifications/tools/list_changed", _meta={SUBSCRIPTION_ID: subscription})


def test_an_answer_belongs_to_its_request_and_progress_to_that_with_its_token() -> None:
    session = recorded(
        (">", request("a", 1, token="t")),
        (">", request("b", "1", token=1)),
        ("<", progress(1)),
        ("<", progress("t")),
        ("<", response(1)),
        ("<", response("1")),
    )
    assert listing(session) == [[], [progress("t"), response(1)], [progress(1), response("1")]]


def test_an_id_can_be_used_again_once_it_is_answered() -> None:
    session = recorded((">", request("a", 1)), ("<", response(1)), (">", request("b", 1)), ("<", response(1, x=2)))
    assert listing(session) == [[], [response(1)], [response(1, x=2)]]


def test_what_nobody_asked_for_belongs_to_the_only_request_in_flight() -> None:
    session = recorded((">", request("a", 1)), (">", INITIALIZED), ("<", log("x")), ("<", response(1)))
    assert listing(session) == [[], [log("x"), response(1)], []]


def test_or_to_that_on_whose_stream_or_in_whose_exchange_it_came() -> None:
    session = recorded(
        (">", request("a", 1), {"stream": 5}),
        (">", request("b", 2), {"stream": 6}),
        ("<", log("a"), {"stream": 5}),
        ("<", log("b"), {"stream": 6}),
        ("<", log("last"), {"stream": 0}),
        (">", request("c", 1), {"request": "x"}),
        (">", request("d", 1), {"request": "y"}),
        ("<", log("c"), {"request": "x"}),
        ("<", response(1), {"request": "y"}),
        ("<", response(1, x=1), {"request": "x"}),
    )
    assert listing(session) == [[], [log("a")], [log("b"), log("last")], [log("c"), response(1, x=1)], [response(1)]]


def test_an_exchange_that_only_one_side_names_is_found_by_its_id() -> None:
    session = recorded(
        (">", request("a", 1, token="t"), {"request": "x"}),
        (">", request("b", 1), {"request": "y"}),
        (">", request("c", 2), {"request": "z"}),
        ("<", progress("t")),
        ("<", response(2)),
        ("<", response(1), {"request": "y"}),
        ("<", response(1)),
    )
    assert listing(session) == [[], [progress("t"), response(1)], [response(1)], [response(2)]]


def test_or_follows_what_the_client_said_last() -> None:
    session = recorded(
        ("<", log("before anything")),
        (">", request("a", 1)),
        ("<", response(1)),
        ("<", CHANGED),
        (">", INITIALIZED),
        ("<", ASKED),
        (">", response("q")),
        ("<", log("thanks")),
    )
    assert listing(session) == [[log("before anything")], [response(1), CHANGED], [ASKED, "q", log("thanks")]]


def test_news_follow_what_was_done_and_not_the_wish_to_hear() -> None:
    session = recorded(
        (">", request("subscriptions/listen", 1)),
        ("<", news(1)),
        (">", request("b", 2)),
        ("<", news(1)),
        ("<", response(2)),
        ("<", response(1)),
    )
    # The end of a subscription is that of the server; played back it would come at once.
    assert listing(session) == [[], [news(1)], [news(1), response(2)]]
    assert not session.scenes[1].is_incomplete


def test_a_cancellation_is_a_place_in_its_scene() -> None:
    session = recorded(
        (">", request("a", 1)),
        ("<", ASKED),
        (">", notification("notifications/cancelled", requestId=1)),
        ("<", notification("notifications/cancelled", requestId="q")),
        (">", request("b", 2)),
        ("<", log("b")),
        ("<", response(1)),
        ("<", response(2)),
    )
    took_back = notification("notifications/cancelled", requestId="q")
    assert listing(session) == [[], [ASKED, None, took_back, response(1)], [log("b"), response(2)]]


def test_a_batch_is_its_messages() -> None:
    asked, answered = [request("a", 1), request("b", 2)], [response(2), response(1)]
    assert listing(recorded((">", asked), ("<", answered))) == [[], [response(1)], [response(2)]]


def test_pauses_are_those_since_the_line_before() -> None:
    session = recorded(
        ("<", log("0")),
        (">", request("a", 1)),
        (">", request("b", 2)),
        ("<", response(1)),
        ("<", ASKED),
        (">", response("q")),
        ("<", response(2)),
    )
    assert [[getattr(line, "pause", None) for line in scene.lines] for scene in session.scenes] == [[0], [2], [2, None, 1]]


def test_what_fits_nowhere_is_named() -> None:
    session = recorded(
        ("<", b"Listening"),
        ("<", response(5)),
        ("<", progress("t")),
        ("<", news("s")),
        ("<", b'{"jsonrpc":"2.0","id":null,"error":{}}'),
        (">", b'{"jsonrpc":"2.0"}'),
        (">", response("q")),
        (">", request("a", 1)),
    )
    assert [reason[:25] for reason in session.skipped] == [
        "not JSON: a value expecte",
        "an answer to nothing, id ",
        "progress of nothing, toke",
        "news for no subscription,",
        "an answer to nothing, id ",
        'a message has a "method",',
    ]
    assert [scene.is_incomplete for scene in session.scenes] == [False, True]


messages = st.sampled_from(
    [
        request("a", 1, token=1),
        request("a", "1", token="1"),
        request("subscriptions/listen", 1),
        response(1),
        response("1"),
        progress(1),
        news(1),
        news("1"),
        log("x"),
        INITIALIZED,
        ASKED,
        response("q"),
        notification("notifications/cancelled", requestId="q"),
        notification("notifications/cancelled", requestId=1),
        notification("notifications/cancelled", requestId={}),
        notification("notifications/progress"),
        b'{"jsonrpc":"2.0","id":1,"error":7}',
        b'{"jsonrpc":"2.0","method":"x","params":{"_meta":7}}',
        b"[]",
        b"garbage",
    ]
)


@given(st.lists(st.tuples(st.sampled_from("<>"), messages)))
def test_every_message_is_somewhere_whatever_the_order(passed: list[tuple[str, Any]]) -> None:
    session = recorded(*passed)
    said = sum(not isinstance(line, Heard) for scene in session.scenes for line in scene.lines)
    ends = sum(scene.is_subscription and scene.is_answered and not scene.is_refused for scene in session.scenes)
    wrong_of_client = sum(way == ">" and isinstance(message, bytes) and message[:1] in b"[g" for way, message in passed)
    assert said + ends + len(session.skipped) - wrong_of_client == sum(way == "<" for way, _ in passed)
