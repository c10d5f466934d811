"""Requests to authenticate, and what comes of them."""

from __future__ import annotations

from typing import Any

from trioproxy.auth import Authenticate, AuthRequest, Principal


def asking(*headers: tuple[str, str], query: str = "", path: str = "/mcp", **scope: Any) -> AuthRequest:
    """Return a request with `headers`, as ASGI has it; `scope` is what else there is in it."""
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    if "host" not in dict(headers):
        raw.append((b"host", b"mcp.example.com"))
    rest = {"scheme": "https", "root_path": "", "client": ("10.0.0.1", 1234), **scope}
    return AuthRequest({"method": "POST", "path": path, "query_string": query.encode(), "headers": raw, **rest})


def bearer(token: str) -> AuthRequest:
    """Return a request with a bearer token."""
    return asking(("Authorization", f"Bearer {token}"))


def way_to(answer: Principal | Exception | None) -> Authenticate:
    """Return a way in that always says the same."""

    async def authenticate(request: AuthRequest) -> Principal | None:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return authenticate
