"""The keys with which an issuer signs its tokens: found, fetched, kept, and fetched again when they change.

An issuer says in its metadata where its keys are (RFC 8414, OpenID Connect Discovery), and there they lie as a set of
JSON Web Keys (RFC 7517 §5), from which a token picks one by its `kid`.  Issuers rotate their keys: a `kid` that is unknown
may be a new one, or anybody's invention, so it has the keys fetched again, but not at every such token.

An issuer that does not answer for a while does no harm as long as its keys are known; a key that it has withdrawn is good
for no more than KEYS_LONGEST.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
import trio

from ..http_client import HttpClient, HttpClientError, open_http_client
from ..protocol.errors import AuthenticationUnavailable
from ..protocol.urls import is_protected_url, shown_url

logger = logging.getLogger("trioproxy.auth.issuer_keys")

FETCH_TIME: Final = 10.0
"""Seconds for metadata and keys together."""
KEYS_FRESH: Final = 600.0
"""Seconds after which keys are fetched again."""
KEYS_LONGEST: Final = 3600.0
"""Seconds for which they are good if they can't be."""
PAUSE: Final = 10.0
"""Seconds between two fetches for the sake of unknown keys."""
PAUSE_AFTER_FAILURE: Final = 5.0
_MAX_DOCUMENT: Final = 512 * 1024
_MAX_KEYS: Final = 100

ALGORITHMS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""What a key of which type and curve may sign with.  Nothing symmetric: a public key would be the secret with which anybody
could sign (RFC 8725 §2.1)."""


class KeySet:
    """The keys of an issuer at one time.

    Args:
      document: a set of JSON Web Keys.

    Raises:
      ValueError: it is none.
    """

    def __init__(self, document: object) -> None:
        keys = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(keys, list):
            raise ValueError("no set of JSON Web Keys: it has no array `keys`")
        self._keys = [key for key in keys[:_MAX_KEYS] if _can_verify(key)]
        self._made: dict[tuple[str | None, str], jwt.PyJWK | None] = {}

    def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the key for a token that is signed with `algorithm`.

        Without a `key_id` it has to be the only one: to try them all would be work for whoever sends nonsense.
        """
        if (key_id, algorithm) not in self._made:
            found = list(self._candidates(key_id, algorithm))
            if not found:
                return None
            self._made[key_id, algorithm] = _make(found[0], algorithm) if len(found) == 1 else None
        return self._made[key_id, algorithm]

    def _candidates(self, key_id: str | None, algorithm: str) -> Iterator[dict[str, Any]]:
        for key in self._keys:
            is_meant = key_id is None or key.get("kid") == key_id
            if is_meant and algorithm in _algorithms(key) and key.get("alg", algorithm) == algorithm:
                yield key


def _can_verify(key: object) -> bool:
    # A private key that everybody can read proves nothing.
    return isinstance(key, dict) and bool(_algorithms(key)) and key.get("use", "sig") == "sig" and "d" not in key


def _algorithms(key: dict[str, Any]) -> tuple[str, ...]:
    kind, curve = key.get("kty"), key.get("crv", "")
    return ALGORITHMS.get((kind, curve), ()) if isinstance(kind, str) and isinstance(curve, str) else ()


def _make(key: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    try:
        return jwt.PyJWK(key, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        logger.warning("a key of the issuer can't be used: %s", type(error).__name__)
        return None


class IssuerKeys:
    """The keys of one issuer, as far as they are known.

    Args:
      fetch: gets a new set, or raises HttpClientError or ValueError.
    """

    def __init__(self, fetch: Callable[[], Awaitable[KeySet]]) -> None:
        self._fetch = fetch
        self._fetching = trio.Lock()
        self._keys: KeySet | None = None
        self._fetched_at = -math.inf
        self._next_fetch = -math.inf  # not before then

    async def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the key that a token names, None if the issuer has none like it.

        Raises:
          AuthenticationUnavailable: nobody can tell.
        """
        found = self._find(key_id, algorithm)
        # Where an issuer is slow, one request at a time waits for it, and the others do with what is known.
        is_good = found is not None and self._age <= KEYS_LONGEST
        if self._is_fetch_due(found) and not (is_good and self._fetching.locked()):
            async with self._fetching:
                # Somebody else may have fetched them meanwhile.
                found = self._find(key_id, algorithm)
                if self._is_fetch_due(found):
                    await self._refresh()
                    found = self._find(key_id, algorithm)
        if self._age > KEYS_LONGEST:
            raise AuthenticationUnavailable("the issuer of tokens does not answer; try again later")
        return found

    @property
    def _age(self) -> float:
        return trio.current_time() - self._fetched_at

    def _find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        return None if self._keys is None else self._keys.find(key_id, algorithm)

    def _is_fetch_due(self, found: jwt.PyJWK | None) -> bool:
        return (found is None or self._age > KEYS_FRESH) and trio.current_time() >= self._next_fetch

    async def _refresh(self) -> None:
        try:
            self._keys = await self._fetch()
        except (HttpClientError, ValueError) as error:
            logger.error("the keys of the issuer can't be had: %s", error)
            self._next_fetch = trio.current_time() + PAUSE_AFTER_FAILURE
        else:
            self._fetched_at = trio.current_time()
            self._next_fetch = self._fetched_at + PAUSE


async def fetch_keys(issuer: str, jwks_url: str | None, client: HttpClient | None = None) -> KeySet:
    """Return the keys that an issuer has now.

    Args:
      jwks_url: where they are; without it, the issuer's metadata says so.
      client: with which to ask; without one, this opens its own.

    Raises:
      HttpClientError: the issuer does not answer.
      ValueError: what it answers is of no use; the message says what it is.
    """
    with trio.move_on_after(FETCH_TIME):
        if client is not None:
            return await _fetch_keys(issuer, jwks_url, client)
        async with open_http_client() as own:
            return await _fetch_keys(issuer, jwks_url, own)
    raise HttpClientError(f"{issuer}: no whole answer within {FETCH_TIME:g} s")


async def _fetch_keys(issuer: str, jwks_url: str | None, client: HttpClient) -> KeySet:
    url = jwks_url or await _discover(issuer, client)
    document = await _get(url, client)
    if document is None:
        raise ValueError(f"{shown_url(url)} has no keys")
    return KeySet(document)


async def _discover(issuer: str, client: HttpClient) -> str:
    """Return where the keys are, by the first metadata of the issuer that says so."""
    for url in metadata_urls(issuer):
        metadata = await _get(url, client)
        if not isinstance(metadata, dict):
            continue
        # "MUST be identical to the issuer identifier used to construct the well-known URL.  If they differ, the client
        # MUST NOT use the metadata" (Authorization Server Discovery §Authorization Server Metadata Discovery).
        if metadata.get("issuer") != issuer:
            raise ValueError(f"{url} is the metadata of another issuer, {str(metadata.get('issuer'))[:200]!r}")
        jwks_url = metadata.get("jwks_uri")
        if isinstance(jwks_url, str):
            if not is_protected_url(jwks_url):
                raise ValueError(f"{url} has its keys at {jwks_url[:200]!r}, which is not https")
            return jwks_url
    raise ValueError(f"{issuer} has no metadata that says where its keys are")


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Return where the metadata of an issuer may be, in the order in which to look (RFC 8414 §3.1, §5).

    2026-07-28, Authorization Server Discovery §Authorization Server Metadata Discovery.
    """
    parts = urlsplit(issuer)
    base = f"{parts.scheme}://{parts.netloc}"
    path = parts.path.rstrip("/")
    urls = (
        f"{base}/.well-known/oauth-authorization-server{path}",
        f"{base}/.well-known/openid-configuration{path}",
        f"{base}{path}/.well-known/openid-configuration",
    )
    return tuple(dict.fromkeys(urls))


async def _get(url: str, client: HttpClient) -> object:
    """Return the JSON at `url`, None if there is none."""
    accept = [(b"accept", b"application/json")]
    response = await client.request("GET", url, headers=accept, time_limit=math.inf, max_size=_MAX_DOCUMENT)
    if response.status >= 500:
        raise ValueError(f"{shown_url(url)} answers with status {response.status}")
    if response.status != 200:
        return None
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):
        raise ValueError(f"{shown_url(url)} is no JSON") from None
