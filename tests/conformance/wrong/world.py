"""The whole server: who may come in, and which half a request is for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import trio

from . import http_sse, requests, streamable_http
from .http import Exchange, serve
from .sessions import Session
from .tools import LEGACY, MODERN, RESERVED, Offers

TOKEN = "Bearer right"
_METADATA = "/.well-known/oauth-protected-resource/mcp"


@dataclass
class World:
    """One server, and everything that it remembers.

    Args:
      nursery: in which calls run that outlive their connections.
      speaks: the revisions that it knows.
      is_guarded: whether it wants a token.
    """

    nursery: trio.Nursery
    faults: set[str] = field(default_factory=set)
    speaks: tuple[str, ...] = (*LEGACY, MODERN)
    is_guarded: bool = False
    sessions: dict[str, Session] = field(default_factory=dict)
    ended: int = 0
    memory: dict[str, Any] = field(default_factory=dict)
    modern_streams: set[Exchange] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.offers = Offers(self.faults)

    def wrong(self, fault: str) -> bool:
        """Whether this is what is done wrong."""
        return fault in self.faults

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection."""
        await serve(stream, self._handle)

    async def _handle(self, x: Exchange) -> None:
        if x.path == _METADATA and self.is_guarded:
            await self._metadata(x)
        elif self._is_foreign(x):
            await x.answer(403)
        elif self.is_guarded and not self._may_come_in(x):
            await self._challenge(x)
        elif x.path == "/sse" and "2024-11-05" in self.speaks:
            await http_sse.open_stream(self, x)
        elif x.path == "/messages":
            await http_sse.post(self, x)
        elif x.path == "/mcp":
            await self._endpoint(x)
        else:
            await x.answer(404)

    async def _endpoint(self, x: Exchange) -> None:
        is_legacy = any(revision in self.speaks for revision in LEGACY)
        if x.method == "POST" and (not is_legacy or self._is_modern(x)):
            await requests.post(self, x)
        elif x.method == "POST":
            await streamable_http.post(self, x)
        elif is_legacy and x.method in ("GET", "DELETE"):
            await (streamable_http.get if x.method == "GET" else streamable_http.delete)(self, x)
        else:
            await x.answer(404 if self.wrong("envelope.get-and-delete-are-not-allowed") else 405, None, {"allow": "POST"})

    def _is_modern(self, x: Exchange) -> bool:
        if MODERN not in self.speaks:
            return False
        try:
            message = json.loads(x.body)
        except ValueError:
            message = None
        params = message.get("params") if isinstance(message, dict) else None
        meta = params.get("_meta") if isinstance(params, dict) else None
        enveloped = isinstance(meta, dict) and any(key.startswith(RESERVED) for key in meta)
        return (
            enveloped
            or x.headers.get("mcp-protocol-version") == MODERN
            or (
                "mcp-session-id" not in x.headers and self.wrong("envelope.each-request-stands-alone") and "meta" in x.memory
            )
        )

    def _is_foreign(self, x: Exchange) -> bool:
        if "evil" not in x.headers.get("origin", ""):
            return False
        known = "mcp-session-id" in x.headers or x.path == "/messages"
        if known:
            return not self.wrong("security.a-foreign-origin-is-refused-within-a-session")
        return not self.wrong("security.a-foreign-origin-is-refused")

    def _may_come_in(self, x: Exchange) -> bool:
        known = x.headers.get("mcp-session-id") in self.sessions or x.path == "/messages"
        if known and self.wrong("sessions.a-session-is-no-authentication"):
            return True
        if "access_token" in x.query and self.wrong("authorization.a-token-in-the-address-is-not-accepted"):
            return True
        return x.headers.get("authorization") == TOKEN

    async def _challenge(self, x: Exchange) -> None:
        status = 403 if self.wrong("authorization.without-a-token-the-answer-is-401") else 401
        if "authorization" in x.headers and self.wrong("authorization.an-invalid-token-is-answered-with-401"):
            status = 400
        parts = [f'resource_metadata="http://127.0.0.1{_METADATA}"', 'scope="use"']
        if self.wrong("authorization.a-challenge-names-the-metadata"):
            del parts[0]
        if self.wrong("authorization.a-challenge-names-the-scopes"):
            del parts[1]
        if self.wrong("authorization.refresh-tokens-are-not-asked-for"):
            parts[1] = 'scope="use offline_access"'
        await x.answer(status, None, {"www-authenticate": "Bearer " + ", ".join(parts)})

    async def _metadata(self, x: Exchange) -> None:
        if self.wrong("authorization.the-metadata-can-be-found"):
            await x.answer(404)
            return
        wrong = self.wrong("authorization.the-metadata-name-an-authorization-server")
        servers = [] if wrong else ["https://auth.example"]
        await x.answer(200, {"resource": "http://127.0.0.1/mcp", "authorization_servers": servers})
