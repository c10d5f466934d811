"""The OAuth client of the `mcp` SDK, and what the specification demands beyond it.

The SDK finds the authorization server, registers us, and asks for tokens, with PKCE, resource indicators, step-up and the
check of `iss`.  Here are added:

- "MCP clients … MUST verify PKCE support before proceeding with authorization" (2026-07-28, Security Considerations
  §Authorization Code Protection);
- where a remote names an authorization server, that it is used or nobody; endpoints are guessed only at a remote of
  2025-03-26, which names none;
- "If the authorization server … no longer matches the one the credentials were registered with, clients SHOULD surface an
  error" (Client Registration §Authorization Server Binding);
- scopes that are asked for are those of the challenge or of the remote, not all that the authorization server has
  (Authorization §Scope Selection Strategy);
- how we authenticate at the token endpoint, where a registration doesn't say (RFC 8414 §2).

It takes half a second to import.  Not here: what it knows from the last run (`oauth_memory`), who sends its requests
(`token_requests`), and when (`sign_in`).
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.auth.utils import issuers_match, union_scopes, validate_authorization_response_iss
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthMetadata,
)
from mcp.shared.exceptions import MCPDeprecationWarning
from pydantic import AnyUrl

from .. import __version__
from ..protocol.urls import is_protected_url, shown_url
from .oauth_memory import Memory, Nowhere
from .settings import SignInConfig
from .token_answers import SignInFailed, describe
from .token_store import Record

_AUTH_METHODS: Final = ("client_secret_basic", "client_secret_post", "none")

Visit = Callable[[str, str], Awaitable[Mapping[str, str]]]
"""Shows the page at a URL to the user, and returns the parameters with which the browser comes back, of this `state`."""

_is_ours: ContextVar[bool] = ContextVar("is_ours", default=False)


def _is_news(record: logging.LogRecord) -> bool:
    return not _is_ours.get()


# The SDK logs what it raises, with whatever an answer held, which may be a token.  It is told once, by us.
for _name in ("mcp.client.auth.oauth2", "mcp.client.auth.utils"):
    logging.getLogger(_name).addFilter(_is_news)


@contextmanager
def told_by_us() -> Iterator[None]:
    """Keep the SDK from logging what it also raises."""
    token = _is_ours.set(True)
    try:
        yield
    finally:
        _is_ours.reset(token)


class _Provider(OAuthClientProvider):
    """What both ways of getting a token have in common."""

    memory: Memory
    config: SignInConfig
    _challenged: str | None = None
    _prior: str | None = None
    is_interactive = False

    def begin(self, record: Record) -> None:
        """Start from what is known now."""
        self.memory.record = record
        self.memory.recall(self.context)
        self._initialized = False

    async def _initialize(self) -> None:
        self._settle_method()
        self._initialized = True

    def _settle_method(self) -> None:
        client = self.context.client_info
        if client is not None and (client.token_endpoint_auth_method is None or self.memory.settled is not None):
            client.token_endpoint_auth_method = _auth_method(client, self.context.oauth_metadata)

    def expect(self, challenged: str | None, is_step_up: bool) -> None:
        """Hear for which scopes a token is wanted."""
        granted = self.context.current_tokens.scope if self.context.current_tokens else None
        self._challenged = challenged
        self._prior = union_scopes(self.context.client_metadata.scope, granted) if is_step_up else None

    def prepare(self) -> None:
        """Check that we may ask this authorization server for what we are about to ask for, and how.

        Raises:
          OAuthFlowError: we may not.
        """
        context = self.context
        metadata = context.oauth_metadata
        if metadata is None and context.auth_server_url is not None and self.config.token_url is None:
            raise OAuthFlowError(f"the authorization server {context.auth_server_url} has no metadata")
        if self.memory.issuer is not None and not issuers_match(self._expected_issuer(), self.memory.issuer):
            raise OAuthFlowError(f"we are registered at {self.memory.issuer}, and not at {self._expected_issuer()}")
        if self.is_interactive and metadata is not None:
            # "If code_challenge_methods_supported is absent, the authorization server does not support PKCE and MCP clients
            # MUST refuse to proceed."
            methods = metadata.code_challenge_methods_supported
            if methods is None or "S256" not in methods:
                raise OAuthFlowError(
                    f"the authorization server {metadata.issuer} does not say that it supports PKCE with S256"
                )
        resource = context.protected_resource_metadata
        if self._challenged is None and (resource is None or resource.scopes_supported is None):
            context.client_metadata.scope = union_scopes(self._prior, " ".join(self.config.scopes) or None)
        self._settle_method()

    def registration(self, body: bytes) -> bytes:
        """Return the body of a registration request, completed."""
        asked: dict[str, Any] = json.loads(body)
        asked.pop("scope", None)
        if self.context.client_metadata.scope:
            asked["scope"] = self.context.client_metadata.scope
        supported = self.context.oauth_metadata and self.context.oauth_metadata.token_endpoint_auth_methods_supported
        # An application that is installed can't keep a secret (RFC 8252 §8.5), and needs none with PKCE.
        method = next((one for one in ("none", *_AUTH_METHODS) if one in (supported or ())), None)
        return json.dumps({**asked, "token_endpoint_auth_method": method} if method else asked).encode()

    def note(self) -> Record:
        """Return what is to be kept."""
        return self.memory.note(self._expected_issuer(), self.context)

    def _select_authorization_server(self, advertised: list[str]) -> str:
        return self.memory.select(self.context, advertised)


class BrowserProvider(_Provider):
    """Gets tokens with which we act for a user, who signs in with a browser (OAuth 2.1 §4.1).

    Args:
      url: the remote.
    """

    is_interactive = True

    def __init__(self, url: str, config: SignInConfig, record: Record) -> None:
        metadata = OAuthClientMetadata(
            # Replaced by `come_back_to`, which is known when the browser is.
            redirect_uris=[AnyUrl("http://127.0.0.1/callback")],
            client_name="trioproxy",
            software_id="trioproxy",
            software_version=__version__,
        )
        super().__init__(url, metadata, Nowhere(), self._go, self._come_back, config.client_metadata_url)
        self.config = config
        settled = None
        if config.client_id is not None:
            method = "none" if config.client_secret is None else None
            settled = OAuthClientInformationFull(
                client_id=config.client_id, client_secret=config.client_secret, token_endpoint_auth_method=method
            )
        self.memory = Memory(record, settled, config.issuer)
        self._visit: Visit | None = None
        self._page = ""

    @property
    def redirect_port(self) -> int:
        """The port to which the authorization server expects the browser to be sent; 0 if it expects none."""
        client = self.context.client_info
        registered = client.redirect_uris if client is not None else None
        return self.config.redirect_port or (registered[0].port or 0 if registered else 0)

    def come_back_to(self, redirect_uri: str, visit: Visit) -> None:
        """Settle where the browser is sent, and who shows the page."""
        self._visit = visit
        self.context.client_metadata.redirect_uris = [AnyUrl(redirect_uri)]
        client = self.context.client_info
        if client is not None and client.redirect_uris and client.redirect_uris[0] != AnyUrl(redirect_uri):
            # "MCP clients MUST have redirect URIs registered with the authorization server" (§Open Redirection).
            self.context.client_info = None

    async def _perform_authorization(self) -> httpx2.Request:
        self.prepare()
        return await super()._perform_authorization()

    async def _go(self, url: str) -> None:
        # The endpoint may have a query of its own, which "MUST be retained" (RFC 6749 §3.1).
        path, _, query = url.partition("?")
        self._page = f"{path}?{query.replace('?', '&')}"
        # "All authorization server endpoints MUST be served over HTTPS" (§Communication Security).
        if not is_protected_url(self._page):
            raise OAuthFlowError(f"the authorization endpoint {shown_url(self._page)[:200]} is not one of https")

    async def _come_back(self) -> AuthorizationCodeResult:
        assert self._visit is not None
        state = parse_qs(urlsplit(self._page).query)["state"][-1]
        response = await self._visit(self._page, state)
        # "This validation applies equally to error responses - on mismatch the client MUST NOT act on or display error,
        # error_description, or error_uri" (Authorization §Authorization Response Validation).
        validate_authorization_response_iss(response.get("iss"), self.context.oauth_metadata)
        if "error" in response:
            raise SignInFailed(f"the authorization server refuses: {describe(response)}")
        return AuthorizationCodeResult(code=response.get("code", ""), state=response["state"], iss=response.get("iss"))


class MachineProvider(_Provider, ClientCredentialsOAuthProvider):
    """Gets tokens with which we act for ourselves (OAuth 2.1 §4.2).

    Args:
      url: the remote.
    """

    def __init__(self, url: str, config: SignInConfig, record: Record) -> None:
        assert config.client_id is not None
        assert config.client_secret is not None
        with warnings.catch_warnings():
            # Without a word of the user's we hold on to the issuer that got the secret first.
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            ClientCredentialsOAuthProvider.__init__(self, url, Nowhere(), config.client_id, config.client_secret)
        self.config = config
        self._fixed_client_info.token_endpoint_auth_method = None
        self.memory = Memory(record, self._fixed_client_info, config.issuer)

    async def _perform_authorization(self) -> httpx2.Request:
        self.prepare()
        return await ClientCredentialsOAuthProvider._perform_authorization(self)

    async def ask_directly(self, protocol_version: str) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Ask the token endpoint that the user named, and nobody else."""
        self.context.protocol_version = protocol_version
        self.context.client_metadata.scope = union_scopes(self._prior, self._challenged or " ".join(self.config.scopes))
        response = yield await self._perform_authorization()
        await self._handle_token_response(response)


def _auth_method(client: OAuthClientInformationFull, metadata: OAuthMetadata | None) -> str:
    """Return how we authenticate at the token endpoint.

    Raises:
      OAuthFlowError: it knows no way that we do.
    """
    if client.client_secret is None:
        return "none"
    supported = None if metadata is None else metadata.token_endpoint_auth_methods_supported
    # "If omitted, the default is "client_secret_basic"" (RFC 8414 §2).
    for method in _AUTH_METHODS:
        if method in (supported or ["client_secret_basic"]):
            return method
    raise OAuthFlowError(f"the token endpoint wants one of {supported}, and we know {', '.join(_AUTH_METHODS)}")
