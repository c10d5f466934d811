"""Access tokens: what an issuer says of whoever sends one, signed (OAuth 2.1 §5; RFC 9068; MCP, Authorization).

A token is a JWT.  It lets in if the issuer has signed it with a key of its own, for us, for now, and for all that we ask of
tokens: "MCP servers MUST validate that access tokens were issued specifically for them as the intended audience" (§Token
Handling).  Nothing that a token says about how it is to be verified is believed, except which of the issuer's keys to take.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import jwt

from ..http_client import HttpClient
from ..protocol.challenges import looks_like_token
from ..protocol.errors import AuthenticationError, InsufficientScope
from . import Authenticate, AuthRequest, Principal
from .issuer_keys import ALGORITHMS, IssuerKeys, fetch_keys

logger = logging.getLogger("trioproxy.auth.oauth")

LEEWAY: Final = 30.0
"""Seconds by which the issuer's clock may differ from ours."""
_MAX_TOKEN: Final = 16 * 1024
_ACCEPTED: Final = tuple(name for names in ALGORITHMS.values() for name in names)
# RFC 9068 §4 has at+jwt only; many issuers still say JWT, or nothing.  What is left out are tokens for other ends, which the
# same key may sign (RFC 8725 §3.11).
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt", "jwt", "application/jwt"})
_REQUIRED: Final = ("iss", "aud", "exp", "sub")
_REASONS: Final[dict[type[jwt.PyJWTError], str]] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidAudienceError: "the token is not for this server",
    jwt.InvalidIssuerError: "the token is from another issuer",
    jwt.InvalidSignatureError: "the token's signature is not the issuer's",
}


class TokenAuth:
    """The way in for those who have a token.

    Args:
      issuer: as it stands in tokens, to the letter.
      audiences: what tokens for us name as their audience; one of them will do.
      scopes: all that a token has to be good for.
      keys: what the issuer signs with.
    """

    def __init__(self, issuer: str, audiences: Iterable[str], scopes: Iterable[str], keys: IssuerKeys) -> None:
        self._issuer = issuer
        self._audiences = tuple(audiences)
        self._scopes = tuple(scopes)
        self._keys = keys

    async def authenticate(self, request: AuthRequest) -> Principal | None:
        """Let in whoever has a token that is good.

        Raises:
          AuthenticationError: it is not.
          InsufficientScope: it is, but not for what we ask.
          AuthenticationUnavailable: the issuer's keys can't be had.
        """
        token = request.bearer
        if token is None:
            return None
        if len(token) > _MAX_TOKEN or not looks_like_token(token):
            raise _refused("this is no token that could be read")
        claims = self._verify(token, await self._find_key(token))
        scopes = _scopes(claims)
        if not scopes.issuperset(self._scopes):
            missing = " ".join(scope for scope in self._scopes if scope not in scopes)
            raise InsufficientScope(f"the token does not have the scope {missing}", scopes=self._scopes)
        try:
            return Principal(claims["sub"], scopes=tuple(sorted(scopes)), authority=self._issuer)
        except ValueError as error:
            raise _refused(f"the token's claims make no principal: {error}") from None

    async def _find_key(self, token: str) -> jwt.PyJWK:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise _refused("this is no token that could be read") from None
        algorithm, kind = header.get("alg"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in _ACCEPTED:
            raise _refused("the token is not signed with an algorithm that is accepted here")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise _refused("this is no access token")
        key = await self._keys.find(header.get("kid"), algorithm)
        if key is None:
            raise _refused("the token is signed with a key that the issuer does not have")
        return key

    def _verify(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                # Not what the token says: what this key is for.
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audiences,
                leeway=LEEWAY,
                options={"require": list(_REQUIRED), "enforce_minimum_key_length": True},
            )
        except jwt.MissingRequiredClaimError as error:
            raise _refused(f"the token has no claim {error.claim}") from None
        except jwt.PyJWTError as error:
            logger.debug("a token is refused: %s", error)
            raise _refused(_REASONS.get(type(error), "the token is not valid")) from None
        return claims


def _refused(reason: str) -> AuthenticationError:
    return AuthenticationError(reason, error="invalid_token")


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    """Return the scopes of a token: words in `scope` (RFC 8693 §4.2), or, as some issuers have it, a list in `scp`."""
    found = claims.get("scope", claims.get("scp", ""))
    words = found.split(" ") if isinstance(found, str) else found if isinstance(found, list) else []
    return frozenset(word for word in words if isinstance(word, str) and word)


def oauth_auth(
    issuer: str,
    audiences: Iterable[str],
    *,
    scopes: Iterable[str] = (),
    jwks_url: str | None = None,
    client: HttpClient | None = None,
) -> Authenticate:
    """Return the way in for those who have a token of `issuer` for one of `audiences`, good for all of `scopes`.

    Args:
      jwks_url: where the issuer's keys are; without it, its metadata says so.
      client: with which to ask for them; without one, each time a client of its own.
    """
    keys = IssuerKeys(partial(fetch_keys, issuer, jwks_url, client))
    return TokenAuth(issuer, audiences, scopes, keys).authenticate
