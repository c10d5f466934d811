"""All the ways in that are configured, as one; and what is said to whoever is not let in.

    async with open_authenticator(config, endpoints) as authenticator:
        principal = await authenticator.authenticate(AuthRequest(scope))

Any of the ways will do: a key, or a token.  `--user-id` is asked for on top of them, as its name in npm's mcp-proxy has it.
Where nothing is configured everybody is let in, and is nobody in particular: None.

A refusal says what would help: which scheme, which scopes, and where the metadata is by which a client finds the issuer of
tokens (RFC 9728).  That metadata is for those who have no token yet, and served without credentials.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import unquote, urlsplit

from ..config import AuthConfig
from ..http_client import HttpClient, open_http_client
from ..protocol.challenges import bearer_challenge, metadata_path, resource_metadata, resource_name
from ..protocol.errors import AuthenticationError, InsufficientScope, MalformedCredentials
from ..protocol.urls import is_protected_url
from . import Authenticate, AuthRequest, Principal, first_of
from .api_keys import ApiKeys, KeyPlaces
from .headers import header_auth, requiring
from .remote import RemoteAuth, ask_server

logger = logging.getLogger("trioproxy.auth")


class Authenticator:
    """Says who may come in.

    Attributes:
      metadata_paths: where the metadata of what we serve is to be had; none where no issuer is configured.
    """

    def __init__(self, config: AuthConfig, endpoints: Sequence[str], way: Authenticate | None, keys: ApiKeys | None) -> None:
        self._config = config
        self._way = way
        self._keys = keys
        self._endpoints: dict[str, str] = {}
        self.metadata_paths: frozenset[str] = frozenset()
        self.describe(endpoints)

    def describe(self, endpoints: Sequence[str]) -> None:
        """Serve metadata for just `endpoints`, quoted as they are in a URL, the most important one first."""
        # The whole server, and each endpoint, the first of which stands for the whole.
        names = ("", *endpoints) if self._config.oauth_issuer else ()
        # What a request asks for has been unquoted.
        self._endpoints = {unquote(metadata_path(name)): name or next(iter(endpoints), "") for name in names}
        self.metadata_paths = frozenset(self._endpoints)

    async def authenticate(self, request: AuthRequest) -> Principal | None:
        """Return who sends a request, None for whoever it may be where nobody is asked.

        Raises:
          AuthenticationError: nobody who may come in; with a challenge, as the next two.
          MalformedCredentials: who it is can't be read.
          InsufficientScope: somebody who may not do this.
          AuthenticationUnavailable: it can't be told now.
          HttpError: `authenticate` of the library has an answer of its own.
        """
        if self._way is None:
            return None
        try:
            principal = await self._way(request)
            if principal is None:
                raise AuthenticationError("credentials are required: " + self._credentials())
        except (AuthenticationError, MalformedCredentials, InsufficientScope) as error:
            error.headers = ((b"www-authenticate", self.challenge(error, request)),)
            raise
        return principal

    def challenge(
        self, error: AuthenticationError | MalformedCredentials | InsufficientScope, request: AuthRequest
    ) -> bytes:
        """Return the value of `WWW-Authenticate` that goes with an error."""
        config = self._config
        scopes: Sequence[str] = config.oauth_scopes
        # RFC 6750 §3.1; without credentials "the resource server SHOULD NOT include an error code".
        if isinstance(error, InsufficientScope):
            code, scopes = "insufficient_scope", error.scopes or scopes
        else:
            code = "invalid_request" if isinstance(error, MalformedCredentials) else error.error
        return bearer_challenge(
            realm=config.oauth_realm,
            resource_metadata=self._metadata_url(request),
            scopes=scopes,
            error=code,
            description=str(error) if code else "",
        )

    def metadata(self, request: AuthRequest) -> bytes:
        """Return the metadata, as JSON, that is served at the request's path, one of `metadata_paths`."""
        issuer = self._config.oauth_issuer
        assert issuer is not None
        resource = self._resource(request, self._endpoints[request.path])
        return json.dumps(resource_metadata(resource, issuer, self._config.oauth_scopes)).encode()

    def reload(self) -> None:
        """Read the file of keys again, if there is one.

        Raises:
          KeyFileError: it can't be used; the keys stay as they were.
        """
        if self._keys is not None:
            self._keys.reload()

    def _resource(self, request: AuthRequest, endpoint: str) -> str:
        return resource_name(request.base_url + endpoint, self._config.oauth_audiences)

    def _metadata_url(self, request: AuthRequest) -> str:
        if not self._endpoints:
            return ""
        endpoint = self._endpoints.get(metadata_path(request.path)) or next(iter(self._endpoints.values()))
        resource = urlsplit(self._resource(request, endpoint))
        prefix = urlsplit(request.base_url).path
        return f"{resource.scheme}://{resource.netloc}{prefix}{metadata_path(endpoint)}"

    def _credentials(self) -> str:
        config = self._config
        ways = []
        if config.oauth_issuer is not None:
            ways.append(f"a token of {config.oauth_issuer} as Authorization: Bearer")
        if config.takes_keys:
            ways.append(f"a key as {config.api_key_header_name} or as Authorization: Bearer")
        if config.user_id is not None:
            ways.append("a user as X-User-Id")
        return "; ".join(ways) or "the server has its own way to ask for them"


@asynccontextmanager
async def open_authenticator(
    config: AuthConfig, endpoints: Sequence[str], client: HttpClient | None = None
) -> AsyncIterator[Authenticator]:
    """Open what is configured, for as long as the block runs.

    Nobody is asked anything yet: that an issuer or an authentication server is away is no reason not to start.

    Args:
      endpoints: the paths that are served, quoted as they are in a URL, the most important one first.
      client: with which to ask, instead of one that trusts whom the system trusts.

    Raises:
      KeyFileError: the file of keys can't be used.
    """
    keys: ApiKeys | None = None
    ways: list[Authenticate] = []
    async with open_http_client() as own_client:
        client = client or own_client
        places = KeyPlaces(config.api_key_header_name, config.api_key_in_query)
        if config.api_keys or config.api_key_file is not None:
            keys = ApiKeys(config.api_keys, config.api_key_file, places)
            ways.append(keys.authenticate)
            if not len(keys):
                logger.warning("%s has no key: nobody gets in with one", config.api_key_file)
        if config.server_url is not None:
            knows_tokens = config.oauth_issuer is not None
            ask = partial(ask_server, config.server_url, client)
            remote = RemoteAuth(ask, cache_time=config.cache_time, places=places, knows_tokens=knows_tokens)
            ways.append(remote.authenticate)
            if not is_protected_url(config.server_url):
                logger.warning("the authentication server is asked over plain HTTP: who is on the way can read the keys")
        if config.oauth_issuer is not None:
            # What verifies tokens is heavy, and loaded by those who use it only.
            from .oauth import oauth_auth

            audiences, scopes = config.oauth_audiences, config.oauth_scopes
            jwks_url = config.oauth_jwks_url
            ways.append(oauth_auth(config.oauth_issuer, audiences, scopes=scopes, jwks_url=jwks_url, client=client))
        if config.authenticate is not None:
            ways.append(config.authenticate)
        way = first_of(*ways) if ways else None
        if config.user_id is not None:
            way = requiring(header_auth(config.user_id), way)
        yield Authenticator(config, endpoints, way, keys)
