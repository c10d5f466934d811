"""Principals, requests, and several ways in at once."""

from __future__ import annotations

import pytest

from tests.auth.asking import asking, bearer, way_to
from trioproxy.auth import AuthRequest, HttpError, Principal, first_of
from trioproxy.protocol.errors import (
    AuthenticationError,
    AuthenticationUnavailable,
    InsufficientScope,
    MalformedCredentials,
)

ALICE = Principal("alice")

# Principals


def test_a_principal_is_the_same_whatever_rights_it_has_at_the_time() -> None:
    assert Principal("alice", ("read",), {"A": "1"}, ("x",), "issuer").key == Principal("alice", authority="issuer").key


def test_two_authorities_may_call_two_people_the_same() -> None:
    assert Principal("alice", authority="https://a").key != Principal("alice", authority="https://b").key
    assert Principal("b c", authority="a").key != Principal("c", authority="a b").key


def test_a_principal_keeps_what_it_was_given() -> None:
    environment = {"TOKEN": "1"}
    principal = Principal("alice", environment=environment)
    environment["TOKEN"] = "2"
    assert principal.environment == {"TOKEN": "1"}
    assert principal == Principal("alice", environment={"TOKEN": "1"})
    assert {principal: 1}[Principal("alice", environment={"TOKEN": "1"})] == 1


def test_a_principal_does_not_show_its_secrets() -> None:
    assert "s3cret" not in repr(Principal("alice", environment={"TOKEN": "s3cret"}))


@pytest.mark.parametrize("identity", ["", "a\0b", "a\nb", "\ud800", "\u202e", "x" * 1025])
def test_an_id_is_something_that_can_be_shown_and_handed_to_a_child(identity: str) -> None:
    with pytest.raises(ValueError, match="an id is 1 to 1024 printable characters"):
        Principal(identity)


@pytest.mark.parametrize("permission", ["", "a,b", "a\0", "\n"])
def test_permissions_can_be_told_apart_in_a_list(permission: str) -> None:
    with pytest.raises(ValueError, match="a permission is printable and has no comma"):
        Principal("alice", ("read", permission))


@pytest.mark.parametrize("name", ["", "A=B", "A B", "1A", "A\0", "A-B", "A\n", "\u00c4", "MCP_PROXY_USER_ID", "MCP_PROXY_"])
def test_a_variable_has_a_name_that_is_not_one_of_ours(name: str) -> None:
    with pytest.raises(ValueError, match="a variable can't have the name"):
        Principal("alice", environment={name: "x"})


@pytest.mark.parametrize("value", ["s3cret\0", "s3cret\ud800"])
def test_a_variable_has_a_value_that_a_process_can_be_given(value: str) -> None:
    with pytest.raises(ValueError, match="the value of the variable TOKEN") as caught:
        Principal("alice", environment={"TOKEN": value})
    assert "s3cret" not in str(caught.value)


# Requests


def test_a_request_shows_where_it_comes_from_and_what_it_wants() -> None:
    request = asking(("X-Thing", " a "), query="a=1&a=2&b=%26", path="/sse")
    assert (request.method, request.path, request.client) == ("POST", "/sse", "10.0.0.1")
    assert request.query == {"a": ["1", "2"], "b": ["&"]}
    assert request.header("x-thing") == request.header("X-Thing") == "a"
    assert request.header("X-Other") is None
    assert asking(client=None).client is None


def test_a_header_that_comes_twice_is_refused() -> None:
    request = asking(("X-Thing", "a"), ("x-thing", "a"))
    assert request.header_values("X-Thing") == ["a", "a"]
    with pytest.raises(MalformedCredentials, match="X-Thing comes 2 times"):
        request.header("X-Thing")


def test_a_bearer_token_comes_once() -> None:
    assert bearer("abc").bearer == "abc"
    assert asking().bearer is None
    assert asking(("Authorization", "Basic abc")).bearer is None
    with pytest.raises(MalformedCredentials):
        assert asking(("Authorization", "Bearer a"), ("Authorization", "Bearer a")).bearer


def test_a_request_does_not_show_its_secrets() -> None:
    assert repr(asking(("x-api-key", "s3cret"), query="apiKey=s3cret")) == "<AuthRequest POST /mcp>"


def test_a_request_knows_under_which_url_the_client_found_us() -> None:
    assert asking(("host", "h:8080"), scheme="http", root_path="/up").base_url == "http://h:8080/up"
    without = AuthRequest({"method": "GET", "path": "/", "headers": []})
    assert without.base_url == "http://localhost"


# Several ways


async def test_whoever_is_let_in_by_one_way_is_in() -> None:
    ways = [way_to(None), way_to(AuthenticationError("no")), way_to(AuthenticationUnavailable("down")), way_to(ALICE)]
    assert await first_of(*ways)(asking()) is ALICE


async def test_the_first_way_says_who_it_is() -> None:
    assert await first_of(way_to(ALICE), way_to(Principal("bob")))(asking()) is ALICE


async def test_where_no_way_has_anything_to_go_by_neither_have_all_of_them() -> None:
    assert await first_of(way_to(None), way_to(None))(asking()) is None


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ([AuthenticationError("a"), None, AuthenticationError("b")], "b"),
        ([AuthenticationError("a"), None], "a"),
        ([AuthenticationUnavailable("down"), AuthenticationError("a")], "down"),
        ([InsufficientScope("more"), AuthenticationUnavailable("down"), AuthenticationError("a")], "more"),
    ],
)
async def test_of_several_reasons_the_gravest_is_told(reasons: list[Exception | None], told: str) -> None:
    with pytest.raises((AuthenticationError, AuthenticationUnavailable, InsufficientScope)) as caught:
        await first_of(*map(way_to, reasons))(asking())
    assert str(caught.value) == told


@pytest.mark.parametrize("answer", [HttpError(418), MalformedCredentials("what?"), ZeroDivisionError()])
async def test_some_answers_are_final_and_so_is_a_defect(answer: Exception) -> None:
    with pytest.raises(type(answer)):
        await first_of(way_to(answer), way_to(ALICE))(asking())


# An answer of one's own


def test_an_answer_of_ones_own_is_kept_as_it_is_but_for_its_framing() -> None:
    error = HttpError(402, [(b"X-Pay", b"\xe9"), (b"Content-Length", b"9"), (b"transfer-encoding", b"chunked")], b"pay")
    assert (error.status, error.headers, error.body) == (402, ((b"x-pay", b"\xe9"),), b"pay")


@pytest.mark.parametrize("header", [(b"a", b"b\r\nc: d"), (b"a", b"b\n"), (b"a\r\nb", b"c"), (b"", b"a"), (b"a", b"\0")])
def test_an_answer_that_http_can_not_carry_is_an_error_at_its_birth(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="no header that HTTP can carry"):
        HttpError(401, [header])


@pytest.mark.parametrize("status", [99, 200, 302, 600])
def test_an_error_has_the_status_of_one(status: int) -> None:
    with pytest.raises(ValueError, match="the status of an error is 400 to 599"):
        HttpError(status)
