"""Each message travels on exactly one stream (Transports §Multiple Connections)."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from trioproxy.protocol.errors import InvalidRequest
from trioproxy.protocol.event_log import EventLog, Stream
from trioproxy.protocol.messages import Message, Request, parse_line
from trioproxy.protocol.routing import Router


class Desk:
    """A router, and an air traffic to try it with."""

    def __init__(self, *, mixes: bool = True) -> None:
        self.log = EventLog(b"tag", max_events=None, max_bytes=None)
        self.standalone = self.log.standalone
        self.router = Router(self.standalone, mixes=mixes)

    def ask(self, request_id: int | str, stream: Stream | None = None, token: Any = None, limit: float = 10) -> Stream:
        stream = stream or self.log.open_stream()
        self.router.take_off(ask(request_id, token), stream, limit, now=0)
        stream.is_announced = True
        return stream

    def route(self, message: Message, now: float = 1) -> Stream | None:
        return self.router.route(message, now)


def message(**members: Any) -> Message:
    return parse_line(json.dumps({"jsonrpc": "2.0", **members}).encode())


def ask(request_id: int | str, token: Any = None) -> Request:
    request = message(id=request_id, method="tools/call", params={"_meta": {"progressToken": token}})
    assert isinstance(request, Request)
    return request


def progress(token: Any) -> Message:
    return message(method="notifications/progress", params={"progressToken": token, "progress": 1})


ANSWER: dict[str, Any] = {"result": {}}
LOG = message(method="notifications/message", params={"level": "info", "data": "x"})
QUESTION = message(id=1, method="sampling/createMessage", params={})


@pytest.mark.parametrize("body", [{"result": {}}, {"error": {"code": 1, "message": "no"}}])
def test_a_response_goes_where_its_request_came_from_and_ends_its_flight(body: dict[str, Any]) -> None:
    desk = Desk()
    one, two = desk.ask(1), desk.ask("1")
    assert desk.route(message(id="1", **body)) is two
    assert desk.route(message(id=1, **body)) is one
    assert len(desk.router) == 0


def test_a_response_that_nobody_waits_for_goes_nowhere() -> None:
    desk = Desk()
    desk.ask(1)
    assert desk.route(message(id=2, **ANSWER)) is None
    assert desk.route(message(id="1", **ANSWER)) is None
    assert desk.route(message(id=None, error={"code": -32700, "message": "?"})) is None
    assert desk.route(message(id=1, **ANSWER)) is not None
    assert desk.route(message(id=1, **ANSWER)) is None


@pytest.mark.parametrize("token", [0, 7, "seven", ""])
def test_progress_goes_to_the_request_whose_token_it_carries(token: int | str) -> None:
    """Utilities §Progress."""
    desk = Desk()
    one, two = desk.ask(1, token=token), desk.ask(2, token="other")
    assert desk.route(progress(token)) is one
    assert desk.route(progress("other")) is two


def test_progress_of_nobody_goes_the_way_of_anything_else() -> None:
    desk = Desk()
    one = desk.ask(1, token="a")
    assert desk.route(progress("b")) is one
    desk.ask(2, token="c")
    assert desk.route(progress("b")) is desk.standalone
    assert desk.route(progress(True)) is desk.standalone


def test_a_token_is_as_good_as_its_last_request() -> None:
    """A client must not use a token twice; one that does loses no answer by it."""
    desk = Desk()
    one, two = desk.ask(1, token="a"), desk.ask(2, token="a")
    assert desk.route(progress("a")) is two
    assert desk.route(message(id=1, **ANSWER)) is one
    assert desk.route(progress("a")) is two
    assert desk.route(message(id=2, **ANSWER)) is two
    assert desk.route(progress("a")) is desk.standalone


@pytest.mark.parametrize("unrelated", [LOG, QUESTION])
def test_anything_else_goes_to_the_only_request_in_flight(unrelated: Message) -> None:
    """Many clients open no standalone stream, and would never be asked or told."""
    desk = Desk()
    one = desk.ask(1)
    assert desk.route(unrelated) is one


@pytest.mark.parametrize("unrelated", [LOG, QUESTION])
def test_anything_else_goes_to_the_standalone_stream_while_there_are_several_or_none(unrelated: Message) -> None:
    desk = Desk()
    assert desk.route(unrelated) is desk.standalone
    desk.ask(1)
    two = desk.ask(2)
    assert desk.route(unrelated) is desk.standalone
    desk.route(message(id=1, **ANSWER))
    assert desk.route(unrelated) is two
    desk.route(message(id=2, **ANSWER))
    assert desk.route(unrelated) is desk.standalone


def test_a_batch_is_one_stream_until_its_last_answer() -> None:
    """2025-03-26, Transports §Sending Messages: one stream carries every response of a batch."""
    desk = Desk()
    batch = desk.ask(1)
    desk.ask(2, batch)
    assert desk.route(LOG) is batch
    assert desk.route(message(id=2, **ANSWER)) is batch
    assert desk.router.is_waiting(batch)
    assert desk.route(LOG) is batch
    assert desk.route(message(id=1, **ANSWER)) is batch
    assert not desk.router.is_waiting(batch)
    assert desk.route(LOG) is desk.standalone


def test_streams_that_carry_one_answer_only_carry_nothing_else() -> None:
    desk = Desk(mixes=False)
    one = desk.ask(1, token="a")
    assert desk.route(LOG) is desk.standalone
    assert desk.route(QUESTION) is desk.standalone
    assert desk.route(progress("a")) is desk.standalone
    assert desk.route(message(id=1, **ANSWER)) is one


def test_an_id_in_flight_is_refused_and_free_again_after_its_answer() -> None:
    """Basic §Requests: "The request ID MUST NOT have been previously used by the requestor within the same session"."""
    desk = Desk()
    one = desk.ask(1, token="a")
    with pytest.raises(InvalidRequest, match="request id 1 is that of another request in flight"):
        desk.ask(1, token="b")
    assert desk.route(message(id=1, **ANSWER)) is one
    assert desk.router.find(1) is None
    assert desk.ask(1) is not one


@pytest.mark.parametrize("mixes", [True, False])
def test_progress_gives_its_request_the_whole_time_again(mixes: bool) -> None:
    """Lifecycle §Timeouts: "MAY choose to reset the timeout clock when receiving a progress notification"."""
    desk = Desk(mixes=mixes)
    desk.ask(1, token="a", limit=10)
    desk.ask(2, token="b", limit=10)
    desk.route(progress("a"), now=9)
    assert [flight.expires_at for flight in desk.router] == [19, 10]


def test_progress_does_not_prolong_a_request_that_was_cancelled() -> None:
    desk = Desk()
    stream = desk.ask(1, token="a", limit=10)
    flight = desk.router.find(1)
    assert flight is not None
    flight.is_cancelled, flight.expires_at = True, 2
    assert desk.route(progress("a"), now=1) is stream
    assert flight.expires_at == 2


def test_a_request_without_a_limit_never_expires() -> None:
    desk = Desk()
    desk.ask(1, limit=math.inf)
    assert [flight.expires_at for flight in desk.router] == [math.inf]


def test_a_stream_whose_request_was_cancelled_is_not_the_only_one_that_somebody_listens_to() -> None:
    log = EventLog(b"tag", max_events=None, max_bytes=None)
    router = Router(log.standalone)
    question = parse_line(b'{"jsonrpc":"2.0","id":7,"method":"roots/list"}')
    cancelled, other = log.open_stream(), log.open_stream()
    other.is_attached = True
    for request_id, stream in ((b"1", cancelled), (b"2", other)):
        request = parse_line(b'{"jsonrpc":"2.0","id":%b,"method":"tools/call"}' % request_id)
        assert isinstance(request, Request)
        router.take_off(request, stream, 300, 0)
    assert router.route(question, 0) is log.standalone
    flight = router.find(1)
    assert flight is not None
    router.cancel(flight)
    router.cancel(flight)
    assert router.route(question, 0) is other
    router.land(flight)
    assert router.route(question, 0) is other


def test_the_only_request_in_flight_gets_nothing_else_once_its_client_has_left_for_good() -> None:
    """A stream that nobody reads and nobody can resume is no place for a question."""
    desk = Desk()
    stream = desk.ask(1)
    stream.is_announced = False
    assert desk.route(QUESTION) is desk.standalone
    stream.is_attached = True
    assert desk.route(QUESTION) is stream


def test_who_has_left_its_request_and_reads_the_standalone_stream_is_found_there() -> None:
    desk = Desk()
    stream = desk.ask(1)
    assert desk.route(QUESTION) is stream
    desk.standalone.is_attached = True
    assert desk.route(QUESTION) is desk.standalone
    stream.is_attached = True
    assert desk.route(QUESTION) is stream
