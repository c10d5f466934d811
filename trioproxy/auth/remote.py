"""An authentication server: somebody else who knows the keys, and whom they belong to.

    GET AUTH_SERVER_URL?apiKey=KEY   →   {"valid": true, "userId": "…", "permissions": […], "env": {…}}

Whatever else it says, or does not say, lets nobody in: its refusal is a 401, its failure a 503.  What it has said is
believed for a while, so that it is not asked at every request.
"""

from __future__ import annotations

import json
import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import trio

from ..http_client import HttpClient, HttpClientError, Response, open_http_client
from ..protocol.challenges import looks_like_token
from ..protocol.errors import AuthenticationError, AuthenticationUnavailable
from ..protocol.urls import add_query
from . import Authenticate, AuthRequest, Principal
from .api_keys import KeyPlaces, digest, key_name

logger = logging.getLogger("trioproxy.auth.remote")

ASK_TIME: Final = 10.0
"""Seconds for an answer, the wait for our turn to ask included."""
CACHE_TIME: Final = 60.0
_REFUSAL_TIME: Final = 5.0
"""Seconds for which a refusal is believed at most: a key that has just been made has to work soon."""
_MAX_ANSWER: Final = 64 * 1024
_MAX_KEY: Final = 4096
_MAX_KNOWN: Final = 10_000
"""Keys of which an answer is kept; then the one that was not used for longest is forgotten."""
_MAX_ASKING: Final = 32
"""Questions that are asked at a time."""
_AUTHORITY: Final = "authentication-server"


class RemoteAuth:
    """The way in for those whom an authentication server knows.

    Args:
      ask: gets the server's answer about a key, or raises HttpClientError.
      cache_time: seconds for which an answer is believed.
      knows_tokens: whether access tokens are somebody else's to judge.  Then they are not sent to this server, since we
        "MUST NOT accept or transit any other tokens" (MCP, Authorization §Token Handling).
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[Response]],
        *,
        cache_time: float = CACHE_TIME,
        places: KeyPlaces | None = None,
        knows_tokens: bool = False,
    ) -> None:
        self._ask = ask
        self._cache_time = cache_time
        self._places = places or KeyPlaces()
        self._knows_tokens = knows_tokens
        # By digest: what the server said, and until when that holds.
        self._known: OrderedDict[bytes, tuple[Principal | None, float]] = OrderedDict()
        self._asking = trio.CapacityLimiter(_MAX_ASKING)
        self._is_down = False

    async def authenticate(self, request: AuthRequest) -> Principal | None:
        """Let in whomever the server knows by the first key that the request shows.

        Raises:
          AuthenticationError: the server refuses it.
          AuthenticationUnavailable: the server does not say.
        """
        keys = self._places.find(request)
        key = next((key for key in keys if not (self._knows_tokens and looks_like_token(key))), None)
        if key is None:
            return None
        principal = await self._find(key)
        if principal is None:
            raise AuthenticationError("the authentication server does not know the key", error="invalid_token")
        return principal

    async def _find(self, key: str) -> Principal | None:
        if len(key) > _MAX_KEY:
            return None
        key_digest = digest(key)
        principal, holds_until = self._known.get(key_digest, (None, -math.inf))
        if trio.current_time() < holds_until:
            self._known.move_to_end(key_digest)
            return principal
        # An answer that no longer holds must not be found again if the next one fails.
        self._known.pop(key_digest, None)
        principal = await self._learn(key, key_digest)
        time = self._cache_time if principal is not None else min(self._cache_time, _REFUSAL_TIME)
        self._known[key_digest] = principal, trio.current_time() + time
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return principal

    async def _learn(self, key: str, key_digest: bytes) -> Principal | None:
        try:
            with trio.fail_after(ASK_TIME):
                async with self._asking:
                    response = await self._ask(key)
            principal = _read_answer(response, key_digest)
        except (HttpClientError, trio.TooSlowError, ValueError) as error:
            reason = f"no answer within {ASK_TIME:g} s" if isinstance(error, trio.TooSlowError) else error
            # Once, not at every request.
            logger.log(logging.DEBUG if self._is_down else logging.ERROR, "authentication server: %s", reason)
            self._is_down = True
            raise AuthenticationUnavailable("the authentication server does not answer; try again later") from None
        if self._is_down:
            logger.info("authentication server: it answers again")
        self._is_down = False
        return principal


async def ask_server(url: str, client: HttpClient | None, key: str) -> Response:
    """Return the answer of the authentication server at `url` about a key.

    Args:
      url: a query that is in it is kept.
      client: with which to ask; without one, this opens its own.

    Raises:
      HttpClientError: there is none.
    """
    if client is None:
        async with open_http_client() as own:
            return await ask_server(url, own, key)
    accept = [(b"accept", b"application/json")]
    asked = add_query(url, "apiKey", key)
    return await client.request("GET", asked, headers=accept, time_limit=ASK_TIME, max_size=_MAX_ANSWER)


def _read_answer(response: Response, key_digest: bytes) -> Principal | None:
    """Return whom an answer lets in, None for nobody.

    Raises:
      ValueError: it is not an answer; the message shows nothing of it but its shape.
    """
    if response.status in (401, 403):
        return None
    if response.status != 200:
        raise ValueError(f"status {response.status} is no answer")
    try:
        answer = json.loads(response.body)
    except (ValueError, RecursionError):
        raise ValueError(f"its answer of {len(response.body)} bytes is not JSON") from None
    if not isinstance(answer, dict):
        raise ValueError("its answer is no JSON object")
    # Not what is merely true in some language or other: "false" is, in most.
    if answer.get("valid") is not True:
        return None
    # Who has no other name has that of the key.
    user_id = key_name(key_digest) if answer.get("userId") is None else answer["userId"]
    environment = {} if answer.get("env") is None else answer["env"]
    permissions = [] if answer.get("permissions") is None else answer["permissions"]
    if not isinstance(user_id, str):
        raise ValueError("its userId is no string")
    if not isinstance(permissions, list) or not _are_strings(permissions):
        raise ValueError("its permissions are no array of strings")
    if not isinstance(environment, dict) or not _are_strings(environment.values()):
        raise ValueError("its env is no object of strings")
    return Principal(user_id, tuple(permissions), environment, authority=_AUTHORITY, is_told=True)


def _are_strings(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def remote_auth(
    url: str, *, cache_time: float = CACHE_TIME, header_name: str = "x-api-key", in_query: bool = False
) -> Authenticate:
    """Return the way in for those whom the authentication server at `url` knows."""
    places = KeyPlaces(header_name, in_query)
    return RemoteAuth(partial(ask_server, url, None), cache_time=cache_time, places=places).authenticate
