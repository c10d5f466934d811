"""A header that names the user: `x-user-id`.

It is as good as whoever sets it.  That is a reverse proxy that has authenticated the user and lets no client set the header
itself; or a client with which the id is shared as a secret would be.
"""

from __future__ import annotations

import hmac
from typing import Final

from ..protocol.errors import AuthenticationError
from . import Authenticate, AuthRequest, Principal

USER_ID: Final = "X-User-Id"


def header_auth(user_id: str) -> Authenticate:
    """Return the way in for requests whose `X-User-Id` is `user_id`, to the letter."""
    principal = Principal(user_id, authority=USER_ID)
    expected = user_id.encode()

    async def authenticate(request: AuthRequest) -> Principal | None:
        value = request.header(USER_ID)
        if not value:
            return None
        # h11 has bytes, and a name beyond ASCII is UTF-8 to those who send it.
        if not hmac.compare_digest(value.encode("latin-1"), expected):
            raise AuthenticationError(f"{USER_ID} names nobody who may come in")
        return principal

    return authenticate


def requiring(condition: Authenticate, way: Authenticate | None) -> Authenticate:
    """Return the way in for requests that are let in by both; who they are, `way` says if there is one."""
    if way is None:
        return condition

    async def authenticate(request: AuthRequest) -> Principal | None:
        admitted = await condition(request)
        return None if admitted is None else await way(request)

    return authenticate
