"""The authentication server: a stub of it that says everything that it may say, and much that it may not."""

from __future__ import annotations

import json
import logging
import math
from collections import deque
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.auth.asking import asking, bearer
from tests.stub_http import Asked, Reply, always, open_stub
from trioproxy.auth import Principal
from trioproxy.auth.remote import RemoteAuth, remote_auth
from trioproxy.http_client import HttpClientError, Response
from trioproxy.protocol.errors import AuthenticationError, AuthenticationUnavailable

TOKEN = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"
ALICE = {"valid": True, "userId": "alice", "permissions": ["read", "write"], "env": {"TOKEN": "t1"}}


class Server:
    """An authentication server in memory: answers what it is told to, in turn, and the last answer for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = deque(answers)
        self.asked: list[str] = []

    async def ask(self, key: str) -> Response:
        await trio.lowlevel.checkpoint()
        self.asked.append(key)
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Response(200, (), answer if isinstance(answer, bytes) else json.dumps(answer).encode())


# On the wire


async def test_the_server_is_asked_about_the_key_and_says_who_it_is() -> None:
    async with open_stub(always(Reply(ALICE))) as stub:
        way = remote_auth(f"{stub.url}/check?tenant=a")
        for request in (asking(("x-api-key", "k y&")), bearer("key")):
            principal = await way(request)
            assert principal is not None
            assert principal == Principal(
                "alice", ("read", "write"), {"TOKEN": "t1"}, authority="authentication-server", is_told=True
            )
    assert stub.targets == ["/check?tenant=a&apiKey=k+y%26", "/check?tenant=a&apiKey=key"]
    assert stub.asked[0].headers["accept"] == "application/json"


async def test_a_key_in_the_query_is_asked_about_where_it_counts() -> None:
    async with open_stub(always(Reply(ALICE))) as stub:
        assert await remote_auth(stub.url)(asking(query="apiKey=key")) is None
        assert await remote_auth(stub.url, in_query=True)(asking(query="apiKey=key")) is not None
    assert stub.targets == ["/?apiKey=key"]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_may_be_a_status(status: int) -> None:
    async with open_stub(always(Reply(ALICE, status))) as stub:
        with pytest.raises(AuthenticationError) as caught:
            await remote_auth(stub.url)(bearer("s3cret"))
    assert str(caught.value) == "the authentication server does not know the key"


@pytest.mark.parametrize("status", [204, 302, 400, 404, 429, 500, 503])
async def test_any_other_status_is_a_failure_that_lets_nobody_in(status: int) -> None:
    async with open_stub(always(Reply(ALICE if status != 204 else b"", status))) as stub:
        with pytest.raises(AuthenticationUnavailable):
            await remote_auth(stub.url)(bearer("key"))


async def test_a_redirect_to_somebody_else_is_a_failure_and_shows_nobody_the_key() -> None:
    async with open_stub(always(Reply(ALICE))) as other:
        elsewhere = Reply(b"", 302, {"location": f"{other.url}/?apiKey=key"})
        async with open_stub(always(elsewhere)) as stub:
            with pytest.raises(AuthenticationUnavailable):
                await remote_auth(stub.url)(bearer("key"))
        assert other.connections == 0


async def test_an_answer_that_is_huge_is_a_failure() -> None:
    async with open_stub(always(Reply({**ALICE, "more": "x" * 70_000}))) as stub:
        with pytest.raises(AuthenticationUnavailable):
            await remote_auth(stub.url)(bearer("key"))


async def test_a_failure_is_logged_once_with_its_evidence_and_without_the_key(
    caplog: pytest.LogCaptureFixture, free_port: int
) -> None:
    caplog.set_level(logging.INFO)
    way = remote_auth(f"http://127.0.0.1:{free_port}/check?password=s3cret")
    for _ in range(3):
        with pytest.raises(AuthenticationUnavailable) as caught:
            await way(bearer("s3cret"))
        assert str(caught.value) == "the authentication server does not answer; try again later"
    (record,) = caplog.records
    assert f"http://127.0.0.1:{free_port}/check: " in record.getMessage()
    assert "refused" in record.getMessage()
    assert "s3cret" not in caplog.text


async def test_that_it_answers_again_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    way = RemoteAuth(Server(HttpClientError("down"), ALICE).ask)
    with pytest.raises(AuthenticationUnavailable):
        await way.authenticate(bearer("key"))
    await way.authenticate(bearer("key"))
    assert [record.getMessage() for record in caplog.records] == [
        "authentication server: down",
        "authentication server: it answers again",
    ]


# What it says


@pytest.mark.parametrize("valid", [False, None, "true", "false", 1, [True], {}, "yes"])
async def test_only_what_is_true_lets_in(valid: object) -> None:
    with pytest.raises(AuthenticationError):
        await RemoteAuth(Server({**ALICE, "valid": valid}).ask).authenticate(bearer("key"))


async def test_an_answer_that_does_not_say_valid_lets_nobody_in() -> None:
    with pytest.raises(AuthenticationError):
        await RemoteAuth(Server({"userId": "alice"}).ask).authenticate(bearer("key"))


@pytest.mark.parametrize("answer", [b"", b"true", b"[]", b"{", b'"valid"', b"<html>", b"\xff", b"[" * 60_000])
async def test_what_is_no_answer_is_a_failure(answer: bytes) -> None:
    with pytest.raises(AuthenticationUnavailable):
        await RemoteAuth(Server(answer).ask).authenticate(bearer("key"))


@pytest.mark.parametrize(
    "part",
    [
        {"userId": 7},
        {"userId": ""},
        {"userId": "a\0b"},
        {"userId": ["alice"]},
        {"permissions": "read"},
        {"permissions": [1]},
        {"permissions": ["a,b"]},
        {"permissions": {"read": True}},
        {"env": ["A=1"]},
        {"env": "A=1"},
        {"env": False},
        {"env": {"A": 1}},
        {"env": {"A": None}},
        {"env": {"A": "a\0"}},
        {"env": {"A=B": "x"}},
        {"env": {"": "x"}},
        {"env": {"A B": "x"}},
        {"env": {"MCP_PROXY_USER_ID": "root"}},
    ],
)
async def test_an_answer_that_could_not_be_acted_on_lets_nobody_in(part: dict[str, Any]) -> None:
    """To leave out what makes no sense would start a child without a variable that was to limit it."""
    with pytest.raises(AuthenticationUnavailable):
        await RemoteAuth(Server({**ALICE, **part}).ask).authenticate(bearer("key"))


async def test_who_has_no_other_name_is_named_by_the_key() -> None:
    way = RemoteAuth(Server({"valid": True, "env": {"A": "1"}}).ask)
    one, again, other = [await way.authenticate(bearer(key)) for key in ("one", "one", "other")]
    assert one is not None
    assert other is not None
    assert one == again
    assert one.key != other.key
    assert (one.permissions, one.environment) == ((), {"A": "1"})


# Whether it is asked


async def test_nobody_is_asked_about_nothing() -> None:
    server = Server(ALICE)
    assert await RemoteAuth(server.ask).authenticate(asking()) is None
    assert server.asked == []


async def test_nobody_is_asked_about_something_that_is_too_long_for_a_key() -> None:
    server = Server(ALICE)
    with pytest.raises(AuthenticationError):
        await RemoteAuth(server.ask).authenticate(bearer("x" * 4097))
    assert server.asked == []


async def test_an_issuers_token_is_not_sent_to_another_server() -> None:
    """MCP, Authorization §Token Handling: "MUST NOT accept or transit any other tokens"."""
    server = Server(ALICE)
    way = RemoteAuth(server.ask, knows_tokens=True)
    assert await way.authenticate(bearer(TOKEN)) is None
    assert await way.authenticate(asking(("Authorization", f"Bearer {TOKEN}"), ("x-api-key", "key"))) is not None
    assert server.asked == ["key"]
    assert await RemoteAuth(server.ask).authenticate(bearer(TOKEN)) is not None


async def test_an_answer_is_believed_for_its_time_and_not_longer(autojump_clock: MockClock) -> None:
    server = Server(ALICE, {"valid": False})
    way = RemoteAuth(server.ask, cache_time=60)
    await way.authenticate(bearer("key"))
    await trio.sleep(59.9)
    assert await way.authenticate(bearer("key")) is not None
    assert len(server.asked) == 1
    await trio.sleep(0.1)
    with pytest.raises(AuthenticationError):
        await way.authenticate(bearer("key"))


async def test_a_refusal_is_believed_for_a_shorter_time(autojump_clock: MockClock) -> None:
    server = Server({"valid": False}, ALICE)
    way = RemoteAuth(server.ask, cache_time=60)
    for _ in range(2):
        with pytest.raises(AuthenticationError):
            await way.authenticate(bearer("key"))
        await trio.sleep(4.9 / 2)
    assert len(server.asked) == 1
    await trio.sleep(0.1)
    assert await way.authenticate(bearer("key")) is not None


async def test_without_a_cache_the_server_is_asked_each_time() -> None:
    server = Server(ALICE)
    way = RemoteAuth(server.ask, cache_time=0)
    for _ in range(3):
        await way.authenticate(bearer("key"))
    assert len(server.asked) == 3


async def test_what_was_believed_is_not_any_more_once_the_server_fails(autojump_clock: MockClock) -> None:
    way = RemoteAuth(Server(ALICE, HttpClientError("down")).ask, cache_time=60)
    await way.authenticate(bearer("key"))
    await trio.sleep(60)
    for _ in range(2):
        with pytest.raises(AuthenticationUnavailable):
            await way.authenticate(bearer("key"))


async def test_a_failure_is_not_remembered() -> None:
    way = RemoteAuth(Server(HttpClientError("down"), ALICE).ask)
    with pytest.raises(AuthenticationUnavailable):
        await way.authenticate(bearer("key"))
    assert await way.authenticate(bearer("key")) is not None


async def test_the_keys_that_are_remembered_are_bounded_and_the_unused_go_first() -> None:
    server = Server(ALICE)
    way = RemoteAuth(server.ask, cache_time=math.inf)
    await way.authenticate(bearer("first"))
    await way.authenticate(bearer("second"))
    for number in range(9998):
        await way.authenticate(bearer(str(number)))
    await way.authenticate(bearer("first"))
    await way.authenticate(bearer("another"))
    asked = len(server.asked)
    await way.authenticate(bearer("first"))
    assert len(server.asked) == asked
    await way.authenticate(bearer("second"))
    assert len(server.asked) == asked + 1


async def test_a_server_that_does_not_answer_is_given_up_and_so_are_those_who_wait_for_their_turn(
    autojump_clock: MockClock,
) -> None:
    asking_now = 0

    async def ask(key: str) -> Response:
        nonlocal asking_now
        asking_now += 1
        await trio.sleep_forever()
        raise AssertionError

    way = RemoteAuth(ask)
    outcomes: list[object] = []

    async def call(key: str) -> None:
        try:
            outcomes.append(await way.authenticate(bearer(key)))
        except AuthenticationUnavailable:
            outcomes.append(trio.current_time())

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(call, str(number))
        await trio.testing.wait_all_tasks_blocked()
        assert asking_now == 32
    assert outcomes == [start + 10.0] * 40


async def test_who_leaves_while_the_server_thinks_takes_nobody_along() -> None:
    answer_now = trio.Event()

    async def answer(asked: Asked) -> Reply:
        await answer_now.wait()
        return Reply(ALICE)

    async with open_stub(answer) as stub, trio.open_nursery() as nursery:
        way = remote_auth(stub.url)
        with trio.move_on_after(0.05):
            await way(bearer("key"))
        nursery.start_soon(way, bearer("key"))
        answer_now.set()
        assert await way(bearer("key")) is not None
