"""A proxy tells of its sessions, and leaves to others what it has no answer to."""

from __future__ import annotations

import secrets
from urllib.parse import parse_qs

import httpx2
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.proxies import DEMO
from tests.real.sdk_ways import sdk_warnings
from trioproxy import (
    AuthConfig,
    AuthRequest,
    ChildConfig,
    Config,
    HttpError,
    ListenConfig,
    Principal,
    SessionInfo,
    header_auth,
    open_proxy,
)

from .clients import call, connect, initialize, request

pytestmark = sdk_warnings


async def test_sessions_are_announced_and_said_goodbye_to() -> None:
    diary: list[str] = []
    is_over = trio.Event()

    def name(session: SessionInfo) -> str:
        assert session.principal is not None
        return f"{session.principal.id}, over {session.transport}"

    async def on_connect(session: SessionInfo) -> None:
        diary.append(f"hello {name(session)}")

    async def on_close(session: SessionInfo) -> None:
        diary.append(f"goodbye {name(session)}")
        is_over.set()

    config = Config(
        child=ChildConfig(DEMO),
        listen=ListenConfig(port=0),
        auth=AuthConfig(authenticate=header_auth("alice")),
        on_connect=on_connect,
        on_close=on_close,
    )
    async with open_proxy(config) as proxy:
        async with connect(proxy.url, {"x-user-id": "alice"}, mode="legacy") as client:
            assert await call(client, "echo", text="hello") == "hello"
            assert diary == ["hello alice, over stream"]
        await is_over.wait()
    assert diary == ["hello alice, over stream", "goodbye alice, over stream"]


async def test_what_on_connect_raises_is_the_answer() -> None:
    async def on_connect(session: SessionInfo) -> None:
        raise HttpError(503, [(b"retry-after", b"3600")], b"closed on Sundays")

    config = Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0), on_connect=on_connect)
    async with open_proxy(config) as proxy:
        answer = await initialize(proxy.url)
        assert (answer.status_code, answer.headers["retry-after"], answer.text) == (503, "3600", "closed on Sundays")


PASSWORDS = {"alice": "wonderland"}
FORM = "<form method=post><input name=user><input name=password type=password><button>Sign in</button></form>"
VISITOR = Principal("visitor")
"""Who has nothing to show yet, and gets no further than the page to sign in."""

tokens: dict[str, Principal] = {}


async def authenticate(asked: AuthRequest) -> Principal | None:
    if asked.path == "/login":
        return VISITOR
    return tokens.get(asked.bearer or "")


async def login(asked: Request) -> Response:
    if asked.method == "GET":
        return HTMLResponse(FORM)
    form = parse_qs((await asked.body()).decode())
    user, password = form["user"][0], form["password"][0]
    if PASSWORDS.get(user) != password:
        return PlainTextResponse("wrong password", 403)
    token = secrets.token_urlsafe()
    tokens[token] = Principal(user)
    return PlainTextResponse(token)


async def account(asked: Request) -> Response:
    return PlainTextResponse(f"signed in as {asked.scope['trioproxy.principal'].id}")


pages = Starlette(routes=[Route("/login", login, methods=["GET", "POST"]), Route("/account", account)])


async def test_a_page_to_sign_in_is_served_beside_the_server() -> None:
    config = Config(
        child=ChildConfig(DEMO),
        listen=ListenConfig(port=0),
        auth=AuthConfig(authenticate=authenticate),
        on_unhandled_request=pages,
    )
    async with open_proxy(config) as proxy:
        page = proxy.url.replace("/mcp", "/login")
        account_page = proxy.url.replace("/mcp", "/account")
        assert (await initialize(proxy.url)).status_code == 401
        assert (await request("GET", account_page)).status_code == 401
        assert (await request("GET", page)).text == FORM

        async with httpx2.AsyncClient() as browser:
            assert (await browser.post(page, data={"user": "alice", "password": "guessed"})).status_code == 403
            token = (await browser.post(page, data={"user": "alice", "password": "wonderland"})).text

        assert (await request("GET", account_page, authorization=f"Bearer {token}")).text == "signed in as alice"
        async with connect(proxy.url, {"authorization": f"Bearer {token}"}) as client:
            assert await call(client, "echo", text="hello") == "hello"
