"""`X-User-Id`, alone and on top of something else."""

from __future__ import annotations

import pytest

from tests.auth.asking import asking, way_to
from trioproxy.auth import Principal
from trioproxy.auth.headers import header_auth, requiring
from trioproxy.protocol.errors import AuthenticationError, MalformedCredentials

BOB = Principal("bob")


async def test_the_user_whom_the_header_names_is_let_in() -> None:
    """npm's mcp-proxy, `createHeaderAuth`."""
    principal = await header_auth("alice")(asking(("x-user-id", "alice")))
    assert principal is not None
    assert principal.id == "alice"


async def test_a_name_beyond_ascii_is_utf8() -> None:
    header = "zo\u00eb".encode().decode("latin-1")
    assert await header_auth("zo\u00eb")(asking(("X-User-Id", header))) is not None


@pytest.mark.parametrize("value", ["bob", "Alice", "alice2", "alic", "alice, alice", "*", "\u00e9"])
async def test_nobody_else_is(value: str) -> None:
    with pytest.raises(AuthenticationError):
        await header_auth("alice")(asking(("x-user-id", value)))


async def test_who_names_nobody_is_nobody() -> None:
    assert await header_auth("alice")(asking()) is None
    assert await header_auth("alice")(asking(("x-user-id", " "))) is None


async def test_a_header_that_comes_twice_names_nobody() -> None:
    """A reverse proxy may have added its own to that of the client."""
    with pytest.raises(MalformedCredentials):
        await header_auth("alice")(asking(("x-user-id", "alice"), ("x-user-id", "alice")))


async def test_on_top_of_a_key_both_are_needed_and_the_key_says_who_it_is() -> None:
    both = requiring(header_auth("alice"), way_to(BOB))
    assert await both(asking(("x-user-id", "alice"))) is BOB
    assert await both(asking()) is None
    with pytest.raises(AuthenticationError):
        await both(asking(("x-user-id", "carol")))
    assert await requiring(header_auth("alice"), way_to(None))(asking(("x-user-id", "alice"))) is None
