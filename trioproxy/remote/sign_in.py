"""Signing in to a remote: a token for its requests, got when it wants one, renewed before it expires, kept for the next run.

    async with open_sign_in(config, client) as sign_in:
        headers = await sign_in.headers()

A remote that wants a token says so with 401, one that wants a better one with 403 (2025-03-26 and later, Authorization).
Then one attempt is made, for all requests that were refused meanwhile: with the refresh token, if there is one; with our own
credentials, if we have some; with the user and a browser, if somebody sits there.  It belongs to the block and not to the
request that caused it: a request that is given up leaves the user the time to finish.

A failure is told, and not repeated at once: a browser window for each request would help nobody.

Not here: what is asked of whom (`oauth_provider`, `token_requests`); both are loaded when there is something to ask.
"""

from __future__ import annotations

import logging
import math
import os
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from ..config import ConfigError
from ..http_client import Headers, HttpClient
from ..protocol.urls import is_protected_url, shown_url
from .browser import OpenPage, alone, open_page
from .challenge import Challenge, read_challenge
from .loopback import AuthorizationResponse, Loopback, open_loopback
from .settings import RemoteConfig, SignInConfig
from .token_answers import SignInFailed
from .token_store import Record, TokenStore, default_path

if TYPE_CHECKING:
    from .oauth_provider import BrowserProvider
    from .token_requests import Provider, TokenRequests

logger = logging.getLogger("trioproxy.remote.sign_in")

SIGN_IN_TIME: Final = 300.0
"""Seconds for the user to sign in."""
_OTHERS_TIME: Final = 60.0
"""Seconds longer for which another process is waited for that is signing in to the same remote."""
_EARLY: Final = 5.0
"""Seconds before its end in which a token is no longer used: it has to be good when it arrives."""
_PAUSE: Final = 30.0
"""Seconds after a failure in which nothing is tried."""
_MAX_REFUSALS: Final = 3
_REFUSAL_PERIOD: Final = 60.0
"""Seconds for so many: a remote that refuses each token that it gets will refuse the next one."""
_LONG_AGO: Final = 1.0


class _Attempt:
    """One attempt to get a token, which all who need one wait for.

    Args:
      step_up: the scopes that it is for, None for any token.
    """

    def __init__(self, step_up: frozenset[str] | None) -> None:
        self.step_up = step_up
        self.is_over = trio.Event()
        self.has_token = False
        self.failure: SignInFailed | None = None


class SignIn:
    """What lets us in at a remote that wants a token; made by `open_sign_in`."""

    def __init__(
        self,
        url: str,
        config: SignInConfig,
        http_client: HttpClient,
        store: TokenStore,
        nursery: trio.Nursery,
        show: OpenPage,
        time_limit: float,
    ) -> None:
        self._url = url
        self._config = config
        self._http = http_client
        self._requests: TokenRequests | None = None
        self._store = store
        self._nursery = nursery
        self._show = show
        self._time_limit = time_limit
        self._attempt: _Attempt | None = None
        self._quiet_until = -math.inf
        self._last_failure = ""
        self._refusals: deque[float] = deque(maxlen=_MAX_REFUSALS)
        self._stepped_up: set[frozenset[str]] = set()
        self._refreshed: str | None = None
        self._token: dict[str, Any] = {}
        self._expires_at: float | None = None
        self._take(store.read())

    async def headers(self) -> Headers:
        """Return the header with the token, if there is one that is good or can be made so."""
        if not self._is_good and self._token.get("refresh_token"):
            # If there is none the remote will refuse the request, and that is when something can be done about it.
            with suppress(SignInFailed):
                await self._join(None)
        return [(b"authorization", b"Bearer " + self._token["access_token"].encode())] if self._is_good else []

    async def renew(self, status: int, headers: Headers) -> bool:
        """Get a token after a refusal, or a better one, and return whether the request is worth sending once more.

        Raises:
          SignInFailed: one was tried for, and there is none.
        """
        challenge = read_challenge(status, headers)
        if challenge is None or (challenge.is_step_up and challenge.scopes in self._stepped_up):
            # "treat this as a permanent authorization failure" (Authorization §Step-Up Authorization Flow)
            return False
        return await self._join(challenge)

    @property
    def _is_good(self) -> bool:
        return bool(self._token) and (self._expires_at is None or time.time() < self._expires_at - _EARLY)

    def _take(self, record: Record) -> None:
        token = record.current.token
        self._token = token if token is not None and isinstance(token.get("access_token"), str) else {}
        self._expires_at = record.current.expires_at

    async def _join(self, challenge: Challenge | None) -> bool:
        """Wait for the attempt that is running, if it is one for the same; else begin it."""
        step_up = challenge.scopes if challenge is not None and challenge.is_step_up else None
        while (attempt := self._attempt) is not None and attempt.step_up != step_up:
            await attempt.is_over.wait()
        if attempt is None:
            if trio.current_time() < self._quiet_until:
                raise SignInFailed(self._last_failure)
            attempt = self._attempt = _Attempt(step_up)
            self._nursery.start_soon(self._run, attempt, challenge)
        await attempt.is_over.wait()
        if attempt.failure is not None:
            raise SignInFailed(str(attempt.failure)) from attempt.failure
        return attempt.has_token

    async def _run(self, attempt: _Attempt, challenge: Challenge | None) -> None:
        try:
            # Whoever holds the lock may be waiting for the user.
            async with self._store.lock(self._time_limit + _OTHERS_TIME):
                attempt.has_token = await self._get_token(challenge)
            if attempt.step_up is not None:
                self._stepped_up.add(attempt.step_up)
        except SignInFailed as error:
            attempt.failure = self._fail(str(error))
        except Exception as error:
            # One attempt fails alone.  What the error says may be what an authorization server has said: a token.
            where = "".join(traceback.format_tb(error.__traceback__))
            logger.error("signing in: %s, for a reason that nobody thought of:\n%s", type(error).__name__, where)
            attempt.failure = self._fail(f"unexpected {type(error).__name__}")
        finally:
            self._attempt = None
            attempt.is_over.set()

    def _fail(self, why: str) -> SignInFailed:
        failure = SignInFailed(f"signing in to {shown_url(self._url)} failed: {why}")
        self._last_failure = f"{failure} (tried again after {_PAUSE:g} s)"
        self._quiet_until = trio.current_time() + _PAUSE
        logger.warning("%s", failure)
        return failure

    async def _get_token(self, challenge: Challenge | None) -> bool:
        """Get a token in the first way that leads to one; return whether there is one that is new.

        Args:
          challenge: None where the token is to be refreshed, and nothing else.
        """
        old, was_good = self._token.get("access_token"), self._is_good
        record = self._store.read()
        self._take(record)
        if self._is_good and self._token["access_token"] != old:
            # Another process was faster.
            return True
        requests = self._requests = self._requests or await self._load_requests(record)
        provider = requests.provider
        provider.begin(record)
        if provider.context.can_refresh_token() and await self._should_refresh(requests, challenge, was_good):
            provider.context.token_expiry_time = _LONG_AGO
            await requests.drive(None)
            self._keep(provider)
            if self._is_good:
                self._refreshed = self._token["access_token"]
                return True
        if challenge is None:
            return False
        provider.expect(challenge.scope, challenge.is_step_up)
        if was_good:
            self._count_refusal()
        if not challenge.is_step_up:
            self._stepped_up.clear()
        if provider.is_interactive:
            await self._ask_user(requests, challenge)
        else:
            await requests.drive(challenge)
        self._keep(provider)
        if not self._is_good:
            raise SignInFailed("the token that it got is no longer good, or never was")
        return True

    async def _should_refresh(self, requests: TokenRequests, challenge: Challenge | None, was_good: bool) -> bool:
        """Tell whether another token of the same kind would do: where one was refused before its time, it may not."""
        if challenge is None or not was_good:
            return True
        was_refreshed = self._token.get("access_token") == self._refreshed
        return not (challenge.is_step_up or was_refreshed or await requests.has_moved(challenge))

    def _count_refusal(self) -> None:
        """Note that a token was refused that should have been good.

        Raises:
          SignInFailed: that happens all the time.
        """
        now = trio.current_time()
        if len(self._refusals) == _MAX_REFUSALS and now - self._refusals[0] < _REFUSAL_PERIOD:
            raise SignInFailed(f"{_MAX_REFUSALS} tokens were refused within {_REFUSAL_PERIOD:g} s, each of them fresh")
        self._refusals.append(now)

    async def _load_requests(self, record: Record) -> TokenRequests:
        module = await trio.to_thread.run_sync(import_module, "trioproxy.remote.token_requests")
        made: TokenRequests = module.TokenRequests(self._url, self._config, self._http, record)
        return made

    def _keep(self, provider: Provider) -> None:
        record = provider.note()
        self._store.write(record)
        self._take(record)

    async def _ask_user(self, requests: TokenRequests, challenge: Challenge) -> None:
        if not self._config.browser:
            raise SignInFailed(
                "it wants a token, and there is neither a user to ask (--oauth) nor a secret (--client-secret)"
            )
        provider = cast("BrowserProvider", requests.provider)
        port, is_fixed = provider.redirect_port, self._config.redirect_port != 0
        failure: SignInFailed | None = None
        try:
            async with open_loopback(port, is_fixed=is_fixed) as loopback:
                provider.come_back_to(loopback.redirect_uri, partial(self._visit, provider, loopback))
                try:
                    await requests.drive(challenge)
                except SignInFailed as error:
                    failure = error
        except OSError as error:
            failure = SignInFailed(f"can't listen on port {port} for the browser: {error.strerror}")
        if failure is not None:
            raise failure

    async def _visit(self, provider: BrowserProvider, loopback: Loopback, page: str, state: str) -> AuthorizationResponse:
        """Show a page to the user, and wait until the browser comes back.

        Raises:
          SignInFailed: it does not.
        """
        # That we are registered stays true, whatever the user does.
        self._store.write(provider.note())
        response: AuthorizationResponse | None = None
        async with alone():
            with trio.move_on_after(self._time_limit):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._show, page)
                    response = await loopback.wait_response(state)
                    nursery.cancel_scope.cancel()
        if response is None:
            raise SignInFailed(f"nobody has signed in within {self._time_limit:g} s")
        return response


@asynccontextmanager
async def open_sign_in(
    config: RemoteConfig,
    http_client: HttpClient,
    *,
    environ: Mapping[str, str] = os.environ,
    show: OpenPage = open_page,
    time_limit: float = SIGN_IN_TIME,
) -> AsyncIterator[SignIn]:
    """Sign in to a remote whenever it wants that, for as long as the block runs.

    Args:
      config: of the remote; its `sign_in` says how.
      http_client: what authorization servers are asked with; it has to outlive the block.
      environ: where the folder for tokens is found.
      show: shows a page to the user.
      time_limit: seconds for the user.

    Raises:
      ConfigError: a token would be there to be read for everybody on the way to the remote.
    """
    sign_in = config.sign_in or SignInConfig()
    if not is_protected_url(config.url):
        raise ConfigError(f"{shown_url(config.url)}: signing in takes an https URL; http on this machine only")
    path = sign_in.token_file or default_path(environ, config.url, sign_in.client_id)
    store = TokenStore(path, config.url, sign_in.client_id)
    async with trio.open_nursery() as nursery:
        yield SignIn(config.url, sign_in, http_client, store, nursery, show, time_limit)
        nursery.cancel_scope.cancel()
