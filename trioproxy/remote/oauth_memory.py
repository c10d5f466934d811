"""What the SDK's OAuth client knows from the last run, so that this one begins where that one ended.

By itself the SDK remembers a token, but not when it expires nor where it is refreshed, and one registration, but not that
there were others.  Here it is told what the `token_store` has of the authorization server in use, and when the remote
moves to another one, what there is of that: "Clients MUST maintain separate registration state (client credentials, tokens)
per authorization server" (2026-07-28, Authorization Server Discovery §Authorization Server Location).

It takes half a second to import.
"""

from __future__ import annotations

import logging
from typing import Any, TypeVar

from mcp.client.auth import OAuthFlowError
from mcp.client.auth.oauth2 import OAuthContext
from mcp.client.auth.utils import issuers_match
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, OAuthToken, ProtectedResourceMetadata
from pydantic import BaseModel, ValidationError

from .token_store import Record, Registration

logger = logging.getLogger("trioproxy.remote.oauth_memory")

_Model = TypeVar("_Model", bound=BaseModel)


class Nowhere:
    """Keeps nothing: what is to be kept is taken from the context, all of it at once."""

    async def get_tokens(self) -> OAuthToken | None:
        return None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        pass

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        pass


class Memory:
    """What a provider knows from the last run, and what is known after this one.

    Args:
      record: what was kept.
      settled: our registration, if we were registered beforehand.
      issuer: where.
    """

    def __init__(self, record: Record, settled: OAuthClientInformationFull | None, issuer: str | None) -> None:
        self.record = record
        self.settled = settled
        self._named = issuer

    @property
    def issuer(self) -> str | None:
        """Where we were registered beforehand: without a word of the user's, that is where we first got a token."""
        if self._named is not None or self.settled is None:
            return self._named
        return next((name for name, kept in self.record.by_issuer.items() if kept.client is not None), None)

    def recall(self, context: OAuthContext) -> None:
        """Tell a provider what is known at the authorization server that was used last."""
        kept = self.record.current
        context.client_info = self._client(kept)
        if kept.server is not None:
            context.oauth_metadata = _known(OAuthMetadata, kept.server)
        if kept.resource is not None:
            context.protected_resource_metadata = _known(ProtectedResourceMetadata, kept.resource)
            context.auth_server_url = self.record.issuer if context.protected_resource_metadata else None
        if kept.token is not None and context.client_info is not None:
            context.current_tokens = _known(OAuthToken, kept.token)
            context.token_expiry_time = kept.expires_at

    def select(self, context: OAuthContext, advertised: list[str]) -> str:
        """Return which of the authorization servers of a remote is used: one that knows us, or else the first.

        Raises:
          OAuthFlowError: we are registered at another one.
        """
        if self.issuer is not None:
            known = [self.issuer]
        else:
            known = [name for name in reversed(self.record.by_issuer) if self.record.by_issuer[name].client is not None]
        selected = next((one for one in advertised if any(issuers_match(one, name) for name in known)), None)
        if selected is None and self.issuer is not None:
            named = ", ".join(advertised)[:200]
            raise OAuthFlowError(f"we are registered at {self.issuer}, and the remote wants tokens of {named}")
        selected = selected or advertised[0]
        if context.auth_server_url is not None and not issuers_match(context.auth_server_url, selected):
            # "clients MUST NOT reuse client credentials from a different authorization server" (§Authorization Server
            # Binding).
            context.clear_tokens()
            context.oauth_metadata = None
            context.client_info = self._client(self.record.by_issuer.get(selected, Registration()))
        return selected

    def note(self, issuer: str, context: OAuthContext) -> Record:
        """Return what is to be kept of what a provider knows."""
        client = self.record.by_issuer.get(issuer, Registration()).client
        if self.settled is None:
            client = None if context.client_info is None else _plain(context.client_info)
        elif context.current_tokens is not None:
            # The secret is the user's to keep.
            client = {"client_id": self.settled.client_id}
        self.record.put(
            issuer,
            Registration(
                client=client,
                token=None if context.current_tokens is None else _plain(context.current_tokens),
                expires_at=context.token_expiry_time,
                server=None if context.oauth_metadata is None else _plain(context.oauth_metadata),
                resource=None
                if context.protected_resource_metadata is None
                else _plain(context.protected_resource_metadata),
            ),
        )
        return self.record

    def _client(self, kept: Registration) -> OAuthClientInformationFull | None:
        if self.settled is not None:
            return self.settled.model_copy()
        return None if kept.client is None else _known(OAuthClientInformationFull, kept.client)


def _known(model: type[_Model], kept: dict[str, Any]) -> _Model | None:
    try:
        return model.model_validate(kept)
    except ValidationError:
        logger.warning("what was kept as %s is none", model.__name__)
        return None


def _plain(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_none=True)
