"""What is known of a server at a URL before anybody has called it: frozen values.

Units, everywhere: seconds for time, bytes for size.  `None` means "no limit" where a limit may be absent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ..config import MIB, ConfigError
from ..protocol.urls import is_http_url, is_protected_url, shown_url

TransportChoice: TypeAlias = Literal["http-first", "sse-first", "http-only", "sse-only"]
Era: TypeAlias = Literal["auto", "legacy", "modern"]


@dataclass(frozen=True)
class SignInConfig:
    """How we get a token for a remote, where it wants one (2025-11-25 and later, Authorization).

    Args:
      browser: somebody sits in front of this machine and can sign in with a browser.
      client_id, client_secret: how the authorization server knows us, if we are registered there already; with a secret and
        without `browser` the client credentials grant is used.
      token_url: the token endpoint, where it can't be discovered.
      issuer: the authorization server at which `client_id` is registered; where it is not said, the first one that gives us
        a token is remembered.
      client_metadata_url: where our client metadata document is, which is our name at authorization servers that read such
        documents (Client Registration §Client ID Metadata Documents).
      redirect_port: the port of this machine to which the browser is sent back; 0 for any that is free.
      scopes: what to ask for, where the remote doesn't say.
      token_file: where tokens are kept between runs, with mode 600; None for the user's own state folder.
    """

    browser: bool = False
    client_id: str | None = None
    client_secret: str | None = None
    token_url: str | None = None
    issuer: str | None = None
    client_metadata_url: str | None = None
    redirect_port: int = 0
    scopes: tuple[str, ...] = ()
    token_file: Path | None = None

    def __post_init__(self) -> None:
        if self.client_secret is not None and self.client_id is None:
            raise ConfigError("--client-secret needs --client-id: a secret without a name is nobody's")
        if self.token_url is not None and self.client_id is None:
            raise ConfigError("--token-url needs --client-id: nobody could be registered there")
        if self.issuer is not None and self.client_id is None:
            raise ConfigError("--client-issuer needs --client-id: nobody could be registered there")
        if self.token_url is not None and not is_protected_url(self.token_url):
            raise ConfigError(f"--token-url {self.token_url!r}: expected an https URL; http on this machine only")
        if self.issuer is not None and not is_protected_url(self.issuer):
            raise ConfigError(f"--client-issuer {self.issuer!r}: expected an https URL; http on this machine only")
        # "The client_id URL MUST use the "https" scheme and contain a path component" (Client Registration §Implementation
        # Requirements).
        document = self.client_metadata_url
        if document is not None and not (is_http_url(document) and re.fullmatch(r"https://[^/?]+/[^?].*", document)):
            raise ConfigError(f"--client-metadata-url {document!r}: expected an https URL with a path")
        if not 0 <= self.redirect_port <= 65535:
            raise ConfigError(f"--redirect-port {self.redirect_port}: expected a port, 0 to 65535")


@dataclass(frozen=True)
class RemoteConfig:
    """A server at a URL.

    Args:
      transport: what is tried first: Streamable HTTP, or HTTP with SSE; and whether the other is tried at all.
      protocol: the era that the server speaks; `auto` finds out.
      headers: sent with each request, values complete.
      api_key: sent as `api_key_header_name`.
      user_id: sent as `x-user-id`.
      verify: whether the server's certificate has to be good.
      ca_file: who signs certificates, instead of those whom the system trusts (PEM).
      sign_in: how to get a token; None where we never ask for one.
      connection_timeout: for the remote to be reached, and to answer `initialize`.
      request_timeout: for the answer to a request; progress starts it anew.
      max_message_size: the longest message accepted.
    """

    url: str
    transport: TransportChoice = "http-first"
    protocol: Era = "auto"
    headers: Sequence[tuple[str, str]] = ()
    api_key: str | None = None
    api_key_header_name: str = "x-api-key"
    user_id: str | None = None
    verify: bool = True
    ca_file: Path | None = None
    sign_in: SignInConfig | None = None
    connection_timeout: float | None = 60.0
    request_timeout: float | None = 300.0
    max_message_size: int | None = 64 * MIB

    def __post_init__(self) -> None:
        if not is_http_url(self.url):
            raise ConfigError(f"{shown_url(self.url)!r}: expected a URL of http or https")
        for name, value in self.headers:
            if not (name.isascii() and name.isprintable() and name) or any(c in name for c in " :"):
                raise ConfigError(f"--header {name!r}: expected 'Name: value'")
            if "\r" in value or "\n" in value or "\0" in value:
                raise ConfigError(f"--header {name}: a value has no line breaks")
