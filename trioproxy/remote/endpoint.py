"""The URL of a remote, and what goes with every HTTP request to it: our headers, and what lets us in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ..http_client import CouldNotConnect, Headers, HttpClient, ResponseStream
from ..protocol.urls import shown_url
from .backoff import Backoff
from .calls import Call
from .credentials import Credentials
from .settings import RemoteConfig


class Endpoint:
    """Where a remote is asked.

    Attributes:
      url: of its MCP endpoint.
      shown: the same without its query, for error messages.
    """

    def __init__(self, client: HttpClient, config: RemoteConfig, credentials: Credentials | None) -> None:
        self.url = config.url
        self.shown = shown_url(config.url)
        self._client = client
        self._credentials = credentials
        ours = list(config.headers)
        if config.api_key is not None:
            ours.append((config.api_key_header_name, config.api_key))
        if config.user_id is not None:
            ours.append(("x-user-id", config.user_id))
        self._headers = [(name.lower().encode(), value.strip(" \t").encode()) for name, value in ours]

    @asynccontextmanager
    async def open(
        self,
        method: str,
        headers: Headers,
        body: bytes = b"",
        *,
        url: str | None = None,
        is_safe: bool = False,
        patience: float = 0.0,
        call: Call | None = None,
    ) -> AsyncIterator[ResponseStream]:
        """Send a request; the block gets its response, whatever its status.

        A request that is refused for want of credentials is sent once more if there are new ones.

        Args:
          url: another one than that of the endpoint, of the same origin.
          is_safe: it may be sent twice.
          patience: seconds for which it is tried again if there is no connection: of such a request nothing was sent.
          call: for whose sake; it is told why there is no connection, as long as there is none.

        Raises:
          HttpClientError: there is no response.
        """
        backoff = Backoff(longest=5.0)
        has_renewed = False
        give_up_at = trio.current_time() + patience

        def forget_trouble() -> None:
            if call is not None:
                call.trouble = ""

        while True:
            try:
                sent = await self._complete(headers)
                async with self._client.open_request(
                    method, url or self.url, headers=sent, body=body, is_safe=is_safe, on_connected=forget_trouble
                ) as response:
                    if response.status in (401, 403) and self._credentials is not None and not has_renewed:
                        has_renewed = True
                        if await self._credentials.renew(response.status, response.headers):
                            continue
                    # No longer anything that could be tried again.
                    give_up_at = 0.0
                    yield response
                    return
            except CouldNotConnect as error:
                if call is not None:
                    call.trouble = str(error)
                pause = backoff.pause()
                if trio.current_time() + pause >= give_up_at:
                    raise
            await trio.sleep(pause)

    async def _complete(self, headers: Headers) -> Headers:
        """Return all headers of a request; of a name that comes twice the one that knows more."""
        if self._credentials is None:
            return [*headers, *self._headers]
        credentials = await self._credentials.headers()
        known = {name.lower() for name, _ in credentials}
        return [*headers, *(header for header in self._headers if header[0] not in known), *credentials]
