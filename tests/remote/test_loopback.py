"""Where the browser comes back to, before browsers, other pages, and who only wants to be in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from trioproxy.http_client import HttpClient, HttpClientError, Response, find_header, open_http_client
from trioproxy.remote.loopback import Loopback, open_loopback

STATE = "unguessable"


@asynccontextmanager
async def open_both() -> AsyncIterator[tuple[Loopback, HttpClient]]:
    async with open_loopback() as loopback, open_http_client() as client:
        yield loopback, client


async def visit(client: HttpClient, url: str, method: str = "GET") -> Response:
    return await client.request(method, url, time_limit=10, max_size=9999)


async def test_the_browser_comes_back_and_its_user_is_told_that_all_is_done() -> None:
    async with open_both() as (loopback, client), trio.open_nursery() as nursery:
        pages: list[Response] = []

        async def come_back() -> None:
            pages.append(await visit(client, f"{loopback.redirect_uri}?code=a%2Bb&state={STATE}&iss=https%3A%2F%2Fas"))

        nursery.start_soon(come_back)
        response = await loopback.wait_response(STATE)
        assert response == {"code": "a+b", "state": STATE, "iss": "https://as"}
    assert pages[0].status == 200
    assert b"You can close this window." in pages[0].body
    for name, value in {b"cache-control": "no-store", b"referrer-policy": "no-referrer"}.items():
        assert find_header(pages[0].headers, name) == value


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/callback", 400),
        ("GET", "/callback?code=x&state=guessed", 400),
        ("GET", f"/callback?code=x&code=y&state={STATE}", 400),
        ("GET", "/callback?" + "&".join(f"a{n}=b" for n in range(99)), 400),
        ("GET", f"/callback?code=%00%FF&state=%C3%A9{STATE}", 400),
        ("GET", "/", 404),
        ("GET", f"/favicon.ico?state={STATE}", 404),
        ("POST", f"/callback?code=x&state={STATE}", 405),
        ("HEAD", f"/callback?code=x&state={STATE}", 405),
    ],
)
async def test_anything_else_does_not_end_the_wait(method: str, target: str, status: int) -> None:
    async with open_both() as (loopback, client), trio.open_nursery() as nursery:
        nursery.start_soon(loopback.wait_response, STATE)
        url = loopback.redirect_uri.removesuffix("/callback")
        page = await visit(client, url + target, method)
        assert page.status == status
        assert STATE.encode() not in page.body
        assert (page.body == b"") == (method == "HEAD")
        with trio.move_on_after(0.02) as scope:
            await loopback.wait_response(STATE)
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_before_anybody_waits_nothing_counts() -> None:
    async with open_both() as (loopback, client):
        assert (await visit(client, f"{loopback.redirect_uri}?code=x&state=None")).status == 400
        assert (await visit(client, f"{loopback.redirect_uri}?code=x&state=")).status == 400


async def test_who_sends_nonsense_or_nothing_is_not_in_the_way() -> None:
    async with open_both() as (loopback, client), trio.open_nursery() as nursery:
        port = int(loopback.redirect_uri.rpartition(":")[2].removesuffix("/callback"))
        for nonsense in (b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nx: " + b"x" * 99_999, b""):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                try:
                    await stream.send_all(nonsense)
                    if nonsense:
                        assert await stream.receive_some() == b""
                except trio.BrokenResourceError:
                    pass
        silent = await trio.open_tcp_stream("127.0.0.1", port)
        nursery.start_soon(visit, client, f"{loopback.redirect_uri}?code=x&state={STATE}")
        assert (await loopback.wait_response(STATE))["code"] == "x"
        await silent.aclose()


async def test_a_port_that_is_taken_is_told_if_no_other_will_do() -> None:
    async with open_loopback() as loopback:
        port = int(loopback.redirect_uri.rpartition(":")[2].removesuffix("/callback"))
        async with open_loopback(port) as other:
            assert other.redirect_uri != loopback.redirect_uri
        with pytest.raises(OSError, match="in use"):
            async with open_loopback(port, is_fixed=True):
                pass


async def test_nobody_listens_after_the_block() -> None:
    async with open_both() as (loopback, client):
        url = loopback.redirect_uri
    async with open_http_client() as client:
        with pytest.raises(HttpClientError, match="refused"):
            await visit(client, url)
