"""What the SDK's OAuth client wants to ask, asked with our own HTTP client, so that proxies, certificates and limits hold.

The SDK's client is a generator: it hands out a request and is handed its response, among them the request that the remote
refused, which has been sent already, and will be sent once more by whoever sent it.  What an authorization server answers
goes through `token_answers` first; a refusal that leads nowhere ends the matter, and the SDK never sees it.

"All authorization server endpoints MUST be served over HTTPS" (2026-07-28, Security Considerations §Communication Security),
and nobody else is asked.  It takes half a second to import.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import OAuthFlowError
from mcp.client.auth.utils import (
    build_protected_resource_metadata_discovery_urls,
    create_oauth_metadata_request,
    extract_resource_metadata_from_www_auth,
    handle_protected_resource_response,
    issuers_match,
)

from ..http_client import HttpClient, HttpClientError, Response, find_header
from ..protocol.urls import is_protected_url, shown_url
from .challenge import Challenge
from .oauth_provider import BrowserProvider, MachineProvider, told_by_us
from .settings import SignInConfig
from .token_answers import SignInFailed, check_registration, describe_refusal, plain, read_token
from .token_store import Record

_TIME: Final = 30.0
"""Seconds for an answer."""
_MAX_ANSWER: Final = 256 * 1024
# Since 2025-06-18 clients MUST name the resource that a token is for "regardless of whether authorization servers support
# it", and it is by the revision that the SDK tells whether to.
_REVISION: Final = "2025-11-25"
_FORM: Final = "application/x-www-form-urlencoded"
_CARRIED: Final = frozenset({b"authorization", b"content-type", b"mcp-protocol-version"})

Provider = BrowserProvider | MachineProvider


class TokenRequests:
    """What is asked for the sake of one remote, and by whom: the SDK's client, as it has to be for this configuration.

    Args:
      url: the remote.
      record: what is known of it.
    """

    def __init__(self, url: str, config: SignInConfig, http_client: HttpClient, record: Record) -> None:
        # A query may hold a key, which is no part of the resource's name (RFC 8707 §2).
        self.resource: Final = shown_url(url)
        self._config = config
        self._http = http_client
        acts_for_itself = config.client_secret is not None and not config.browser
        make = MachineProvider if acts_for_itself else BrowserProvider
        self.provider: Final[Provider] = make(self.resource, config, record)

    async def has_moved(self, challenge: Challenge) -> bool:
        """Ask a remote that refuses a token whether it wants those of another authorization server by now.

        Raises:
          SignInFailed: it doesn't say.
        """
        context = self.provider.context
        if context.auth_server_url is None:
            return False
        refusal = httpx2.Response(challenge.status, headers=list(challenge.headers))
        named = extract_resource_metadata_from_www_auth(refusal)
        for url in build_protected_resource_metadata_discovery_urls(named, self.resource):
            found = await handle_protected_resource_response(await self._ask(create_oauth_metadata_request(url)))
            if found is not None:
                return not any(issuers_match(str(one), context.auth_server_url) for one in found.authorization_servers)
        return False

    async def drive(self, challenge: Challenge | None) -> None:
        """Send what the provider wants sent, until it would send the request that was refused once more.

        Args:
          challenge: None where the token is only to be refreshed.

        Raises:
          SignInFailed: it does not come to that.
        """
        request = httpx2.Request("POST", self.resource, headers={"mcp-protocol-version": _REVISION})
        if isinstance(self.provider, MachineProvider) and self._config.token_url is not None and challenge is not None:
            flow = self.provider.ask_directly(_REVISION)
        else:
            flow = self.provider.async_auth_flow(request)
        is_told = False
        try:
            with told_by_us():
                outgoing = await anext(flow)
                while outgoing is not request or not (is_told or challenge is None):
                    if outgoing is request:
                        assert challenge is not None
                        answer = httpx2.Response(challenge.status, headers=list(challenge.headers), request=request)
                        is_told = True
                    else:
                        answer = await self._ask(outgoing)
                    outgoing = await flow.asend(answer)
        except StopAsyncIteration:
            pass
        except OAuthFlowError as error:
            # What has a cause quotes what an authorization server has said.
            raise SignInFailed(plain(str(error)) if error.__cause__ is None else "an answer that makes no sense") from error
        finally:
            await flow.aclose()

    async def _ask(self, outgoing: httpx2.Request) -> httpx2.Response:
        """Send a request of the provider's, and return what it may know of the answer.

        Raises:
          SignInFailed: there is none, or none that leads on.
        """
        url, body = str(outgoing.url), outgoing.content
        kind = outgoing.headers.get("content-type", "") if outgoing.method == "POST" else ""
        if kind == _FORM:
            url = self._config.token_url or url
        elif kind:
            self.provider.prepare()
            body = self.provider.registration(body)
        self._check(url)
        carried = [(name, value) for name, value in outgoing.headers.raw if name.lower() in _CARRIED]
        try:
            response = await self._http.request(
                outgoing.method,
                url,
                headers=[(b"accept", b"application/json"), *carried],
                body=body,
                time_limit=_TIME,
                max_size=_MAX_ANSWER,
                follows_redirects=False,
            )
        except HttpClientError as error:
            raise SignInFailed(str(error)) from error
        redirect = _redirect(outgoing, response)
        content = response.body
        if redirect is not None:
            content = b""
        elif kind == _FORM:
            content = self._read_token_answer(parse_qs(body.decode()), response)
        elif kind:
            if response.status not in (200, 201):
                raise SignInFailed(describe_refusal("registration", response.status, content))
            check_registration(content)
        answer = httpx2.Response(response.status, content=content, request=outgoing)
        answer.next_request = redirect
        return answer

    def _check(self, url: str) -> None:
        # A remote somewhere else has no business with what listens on this machine (RFC 9728 §7.7).
        is_local = urlsplit(self.resource).scheme == "http"
        if not is_protected_url(url) or not (is_local or url.startswith("https:")):
            raise SignInFailed(f"{shown_url(url)[:200]} is not asked: only https is")

    def _read_token_answer(self, asked: Mapping[str, list[str]], response: Response) -> bytes:
        if response.status in (200, 201):
            return json.dumps(read_token(response.body)).encode()
        is_refresh = asked.get("grant_type") == ["refresh_token"]
        if is_refresh and 400 <= response.status < 500 and response.status != 429:
            # It is worth nothing any more: the provider forgets it.
            return b""
        secrets = [value for values in asked.values() for value in values]
        if self._config.client_secret is not None:
            secrets.append(self._config.client_secret)
        raise SignInFailed(describe_refusal("refresh" if is_refresh else "token", response.status, response.body, secrets))


def _redirect(outgoing: httpx2.Request, response: Response) -> httpx2.Request | None:
    """Return the request that a redirect asks for, if it leaves the method as it is; the SDK decides whether it is sent."""
    location = find_header(response.headers, b"location")
    allowed = (301, 302, 303, 307, 308) if outgoing.method == "GET" else (307, 308)
    if location is None or response.status not in allowed:
        return None
    try:
        url = outgoing.url.join(location)
    except httpx2.InvalidURL:
        return None
    return httpx2.Request(outgoing.method, url, headers=dict(outgoing.headers), content=outgoing.content)
