"""An authorization server and a remote that wants its tokens, on this machine, and a browser in which somebody says yes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

import trio

from tests.stub_http import Asked, Reply, Stub, open_stub
from trioproxy.http_client import HttpClient, find_header, open_http_client

SECRETS = ("code-", "access-", "refresh-", "our-secret")
"""How everything begins that nobody else is to see."""


@dataclass
class AuthorizationServer:
    """An authorization server: what it says of itself, what it was asked, and what it gives."""

    metadata: dict[str, Any] = field(default_factory=dict)
    registration: dict[str, Any] = field(default_factory=dict)
    token: dict[str, Any] = field(default_factory=lambda: {"expires_in": 3600})
    refusals: dict[str, Reply] = field(default_factory=dict)
    """By path, or by grant type: what is answered instead."""
    authorization: dict[str, str] = field(default_factory=dict)
    """What goes with the browser beside code and state; "" takes one away."""
    scopes: dict[str, str] = field(default_factory=dict)
    """The scope of each access token."""
    issued: int = 0
    registered: int = 0
    url: str = ""
    stub: Stub = field(default_factory=lambda: Stub(""))
    _challenges: dict[str, tuple[str, str]] = field(default_factory=dict)
    refresh_tokens: set[str] = field(default_factory=set)

    @property
    def forms(self) -> list[dict[str, str]]:
        """What was asked of the token endpoint."""
        return [dict(parse_qsl(asked.body.decode())) for asked in self.stub.asked if asked.target == "/token"]

    @property
    def grants(self) -> list[str]:
        """By which grants tokens were asked for."""
        return [form["grant_type"] for form in self.forms]

    @property
    def pages(self) -> list[dict[str, str]]:
        """What the authorization endpoint was asked."""
        asked = [one.target.partition("?") for one in self.stub.asked]
        return [dict(parse_qsl(query)) for path, _, query in asked if path == "/authorize"]

    @property
    def paths(self) -> list[str]:
        """The path of each request."""
        return [asked.target.partition("?")[0] for asked in self.stub.asked]

    def described(self) -> dict[str, Any]:
        """Return the metadata (RFC 8414); a member that is None is left out."""
        metadata = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "registration_endpoint": f"{self.url}/register",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            **self.metadata,
        }
        return {name: value for name, value in metadata.items() if value is not None}

    async def answer(self, asked: Asked) -> Reply:
        """Answer as an authorization server does."""
        path, _, query = asked.target.partition("?")
        if path in self.refusals:
            return self.refusals[path]
        if path == "/.well-known/oauth-authorization-server":
            return Reply(self.described())
        if path == "/register":
            self.registered += 1
            return Reply({**json.loads(asked.body), "client_id": f"client-{self.registered}", **self.registration}, 201)
        if path == "/authorize":
            return self._authorize(dict(parse_qsl(query)))
        if path == "/token":
            return self._token(dict(parse_qsl(asked.body.decode())))
        return Reply(b"nothing here", 404)

    def _authorize(self, asked: dict[str, str]) -> Reply:
        code = f"code-{len(self._challenges)}"
        self._challenges[code] = asked["code_challenge"], asked.get("scope", "")
        response = {"code": code, "state": asked["state"], **self.authorization}
        said = urlencode({name: value for name, value in response.items() if value})
        return Reply(b"", 302, {"location": f"{asked['redirect_uri']}?{said}"})

    def _token(self, form: dict[str, str]) -> Reply:
        kind = form["grant_type"]
        if kind in self.refusals:
            return self.refusals[kind]
        scope = form.get("scope", "")
        if kind == "authorization_code":
            challenge, scope = self._challenges.pop(form["code"])
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == challenge
        elif kind == "refresh_token":
            if form["refresh_token"] not in self.refresh_tokens:
                return Reply({"error": "invalid_grant"}, 400)
            self.refresh_tokens.remove(form["refresh_token"])
        return Reply(self.issue(scope))

    def issue(self, scope: str = "") -> dict[str, Any]:
        """Return a new token."""
        self.issued += 1
        token = {"access_token": f"access-{self.issued}", "token_type": "bearer", "refresh_token": f"refresh-{self.issued}"}
        self.refresh_tokens.add(token["refresh_token"])
        self.scopes[token["access_token"]] = scope
        return {name: value for name, value in {**token, **self.token}.items() if value is not None}


@dataclass
class Protected:
    """A remote that lets nobody in without a token of its authorization server."""

    server: AuthorizationServer
    needed: set[str] = field(default_factory=set)
    resource: dict[str, Any] = field(default_factory=dict)
    challenge: str = 'resource_metadata="{url}/.well-known/oauth-protected-resource/mcp"'
    has_metadata: bool = True
    withdrawn: set[str] = field(default_factory=set)
    stub: Stub = field(default_factory=lambda: Stub(""))

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.stub.url}/mcp"

    async def answer(self, asked: Asked) -> Reply:
        """Answer as a resource server does."""
        if asked.target == "/.well-known/oauth-protected-resource/mcp" and self.has_metadata:
            return Reply({"resource": self.url, "authorization_servers": [self.server.url], **self.resource})
        if asked.target.partition("?")[0] != "/mcp":
            return await self.server.answer(asked) if not self.has_metadata else Reply(b"", 404)
        challenge = self.challenge.format(url=self.stub.url)
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.server.scopes or token in self.withdrawn:
            return Reply(b"", 401, {"www-authenticate": f"Bearer {challenge}".strip()})
        if not self.needed <= set(self.server.scopes[token].split()):
            more = f'error="insufficient_scope", scope="{" ".join(sorted(self.needed))}"'
            return Reply(b"", 403, {"www-authenticate": f"Bearer {challenge}, {more}"})
        return Reply(token.encode())


@asynccontextmanager
async def open_protected() -> AsyncIterator[Protected]:
    """Run a remote and its authorization server."""
    server = AuthorizationServer()
    remote = Protected(server)
    async with open_stub(server.answer) as server_stub, open_stub(remote.answer) as remote_stub:
        server.stub, server.url, remote.stub = server_stub, server_stub.url, remote_stub
        yield remote


@dataclass
class Browser:
    """A browser whose user says yes to everything."""

    pages: list[str] = field(default_factory=list)
    before: Callable[[str], Awaitable[None]] | None = None

    async def show(self, url: str) -> None:
        """Show a page, and follow where it leads."""
        self.pages.append(url)
        if self.before is not None:
            await self.before(url)
        async with open_http_client() as client:
            page = await client.request("GET", url, time_limit=10, max_size=9999, follows_redirects=False)
            target = find_header(page.headers, b"location")
            assert target is not None
            await visit(client, target)


async def visit(client: HttpClient, url: str) -> str:
    """Return the text of a page."""
    return (await client.request("GET", url, time_limit=10, max_size=9999)).body.decode()


async def sleeping(url: str) -> None:
    """A browser before which nobody sits."""
    await trio.sleep_forever()


def basic(asked: Asked) -> tuple[str, str] | None:
    """Return who asks by HTTP Basic (RFC 6749 §2.3.1)."""
    kind, _, text = asked.headers.get("authorization", "").partition(" ")
    if kind != "Basic":
        return None
    name, _, secret = base64.b64decode(text).decode().partition(":")
    return unquote(name), unquote(secret)


def query(url: str) -> dict[str, str]:
    """Return the parameters of a URL."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
