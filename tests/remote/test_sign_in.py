"""Signing in to a remote: every way that leads to a token, and what is told where none does."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.remote.authorization_server import (
    SECRETS,
    Browser,
    Protected,
    basic,
    open_protected,
    query,
    sleeping,
    visit,
)
from tests.stub_http import Asked, Reply, always, open_stub
from trioproxy.config import ConfigError
from trioproxy.http_client import HttpClient, open_http_client
from trioproxy.http_proxies import Proxies
from trioproxy.remote.browser import OpenPage
from trioproxy.remote.settings import RemoteConfig, SignInConfig
from trioproxy.remote.sign_in import SignIn, open_sign_in
from trioproxy.remote.token_answers import SignInFailed

USER = SignInConfig(browser=True)
MACHINE = SignInConfig(client_id="us", client_secret="our-secret")


@pytest.fixture(autouse=True)
def nothing_secret_is_told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever happens, no log line has a token in it."""
    caplog.set_level(logging.DEBUG)
    yield
    assert not [secret for secret in SECRETS if secret in caplog.text]


class Caller:
    """A program that calls a remote, as the bridge does: with the headers of a sign-in, and once more after a refusal."""

    def __init__(self, client: HttpClient, sign_in: SignIn, url: str) -> None:
        self.sign_in = sign_in
        self._client = client
        self._url = url

    async def call(self) -> str:
        """Return with which token the remote has let us in."""
        for is_last in (False, True):
            headers = await self.sign_in.headers()
            response = await self._client.request("POST", self._url, headers=headers, time_limit=20, max_size=999)
            if response.status == 200:
                return response.body.decode()
            if is_last or not await self.sign_in.renew(response.status, response.headers):
                return str(response.status)
        raise AssertionError

    async def failure(self) -> str:
        """Return why there is no token."""
        with pytest.raises(SignInFailed) as caught:
            await self.call()
        assert not [secret for secret in SECRETS if secret in str(caught.value)]
        return str(caught.value)


@asynccontextmanager
async def open_caller(
    remote: Protected,
    state: Path,
    config: SignInConfig = USER,
    show: OpenPage | None = None,
    time_limit: float = 10,
    url: str | None = None,
) -> AsyncIterator[Caller]:
    remote_config = RemoteConfig(url or remote.url, sign_in=config)
    environ = {"XDG_STATE_HOME": str(state)}
    async with (
        open_http_client() as client,
        open_sign_in(remote_config, client, environ=environ, show=show or Browser().show, time_limit=time_limit) as sign_in,
    ):
        yield Caller(client, sign_in, remote_config.url)


def kept(state: Path) -> dict[str, Any]:
    """Return what is kept of the only remote."""
    (path,) = (state / "trioproxy").glob("*.json")
    (record,) = json.loads(path.read_text())["remotes"].values()
    assert isinstance(record, dict)
    return record


def change(state: Path, **members: Any) -> None:
    """Change what is kept at the authorization server."""
    (path,) = (state / "trioproxy").glob("*.json")
    document = json.loads(path.read_text())
    for record in document["remotes"].values():
        record["by_issuer"][record["issuer"]].update(members)
    path.write_text(json.dumps(document))


# With a browser


async def test_a_user_signs_in_and_the_request_is_sent_once_more(tmp_path: Path) -> None:
    browser = Browser()
    async with open_protected() as remote:
        async with open_caller(remote, tmp_path, show=browser.show) as caller:
            assert await caller.call() == "access-1"
            assert await caller.call() == "access-1"
        server = remote.server
        assert server.paths == ["/.well-known/oauth-authorization-server", "/register", "/authorize", "/token"]
        (page,) = server.pages
        assert page["response_type"] == "code"
        assert page["client_id"] == "client-1"
        assert page["code_challenge_method"] == "S256"
        assert page["resource"] == remote.url
        assert "scope" not in page
        (form,) = server.forms
        assert form["resource"] == remote.url
        assert form["redirect_uri"] == page["redirect_uri"]
    assert browser.pages[0].startswith(f"{server.url}/authorize?")


async def test_we_register_as_a_program_on_this_machine_that_keeps_no_secret(tmp_path: Path) -> None:
    async with open_protected() as remote:
        async with open_caller(remote, tmp_path) as caller:
            await caller.call()
        registered = json.loads(remote.server.stub.asked[1].body)
        assert registered.pop("redirect_uris") == [remote.server.pages[0]["redirect_uri"]]
        assert registered.pop("software_version")
        assert registered == {
            "client_name": "trioproxy",
            "software_id": "trioproxy",
            "application_type": "native",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }


async def test_the_next_run_needs_neither_user_nor_registration(tmp_path: Path) -> None:
    browser = Browser()
    async with open_protected() as remote:
        for _ in range(2):
            async with open_caller(remote, tmp_path, show=browser.show) as caller:
                assert await caller.call() == "access-1"
    assert len(browser.pages) == 1
    (path,) = (tmp_path / "trioproxy").glob("*.json")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.name.startswith("127.0.0.1-")


async def test_a_registration_outlives_its_token_and_the_port_with_it(tmp_path: Path) -> None:
    async with open_protected() as remote:
        for _ in range(2):
            async with open_caller(remote, tmp_path) as caller:
                await caller.call()
            change(tmp_path, token=None)
        first, second = remote.server.pages
        assert first["redirect_uri"] == second["redirect_uri"]
        assert remote.server.registered == 1


async def test_who_can_not_have_the_registered_port_again_registers_again(tmp_path: Path) -> None:
    async with open_protected() as remote:
        async with open_caller(remote, tmp_path) as caller:
            await caller.call()
        change(tmp_path, token=None)
        port = int(remote.server.pages[0]["redirect_uri"].rpartition(":")[2].partition("/")[0])
        (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
        async with listener, open_caller(remote, tmp_path) as caller:
            assert await caller.call() == "access-2"
        assert remote.server.registered == 2


async def test_an_expired_token_is_refreshed_before_it_is_used_where_it_came_from(tmp_path: Path) -> None:
    browser = Browser()
    async with open_protected() as remote:
        for _ in range(3):
            async with open_caller(remote, tmp_path, show=browser.show) as caller:
                last = await caller.call()
            change(tmp_path, expires_at=time.time() - 1)
        assert last == "access-3"
        assert remote.server.grants == ["authorization_code", "refresh_token", "refresh_token"]
        assert remote.server.forms[1]["resource"] == remote.url
        assert [asked.target for asked in remote.stub.asked].count("/mcp") == 4
    assert len(browser.pages) == 1


async def test_a_token_that_is_refused_before_its_time_is_refreshed(tmp_path: Path) -> None:
    browser = Browser()
    async with open_protected() as remote, open_caller(remote, tmp_path, show=browser.show) as caller:
        assert await caller.call() == "access-1"
        remote.withdrawn.add("access-1")
        assert await caller.call() == "access-2"
    assert len(browser.pages) == 1


async def test_a_refreshed_token_that_is_refused_as_well_leads_to_the_user(tmp_path: Path) -> None:
    browser = Browser()
    async with open_protected() as remote, open_caller(remote, tmp_path, show=browser.show) as caller:
        assert await caller.call() == "access-1"
        remote.withdrawn |= {"access-1", "access-2"}
        assert await caller.call() == "401"
        assert await caller.call() == "access-3"
        assert remote.server.grants == ["authorization_code", "refresh_token", "authorization_code"]


async def test_a_refresh_token_that_has_expired_too_leads_to_the_user(tmp_path: Path) -> None:
    browser = Browser()
    async with open_protected() as remote:
        async with open_caller(remote, tmp_path, show=browser.show) as caller:
            await caller.call()
        change(tmp_path, expires_at=time.time() - 1)
        remote.server.refresh_tokens.clear()
        async with open_caller(remote, tmp_path, show=browser.show) as caller:
            assert await caller.call() == "access-2"
        assert remote.server.grants == ["authorization_code", "refresh_token", "authorization_code"]
        assert remote.server.registered == 1


async def test_an_authorization_server_that_is_down_costs_no_refresh_token(tmp_path: Path) -> None:
    async with open_protected() as remote:
        async with open_caller(remote, tmp_path) as caller:
            await caller.call()
        change(tmp_path, expires_at=time.time() - 1)
        remote.server.refusals["refresh_token"] = Reply(b"", 503)
        async with open_caller(remote, tmp_path) as caller:
            assert "failed: refresh refused: HTTP 503" in await caller.failure()
        remote.server.refusals.clear()
        async with open_caller(remote, tmp_path) as caller:
            assert await caller.call() == "access-2"
        assert len(remote.server.pages) == 1


async def test_a_better_token_is_asked_for_with_all_scopes_and_no_more_than_once(tmp_path: Path) -> None:
    async with open_protected() as remote, open_caller(remote, tmp_path) as caller:
        remote.challenge += ', scope="read"'
        assert await caller.call() == "access-1"
        remote.challenge = remote.challenge.replace(', scope="read"', "")
        remote.needed = {"write"}
        assert await caller.call() == "access-2"
        remote.needed = {"admin"}
        remote.server.token["scope"] = "read write"
        remote.server.scopes = {"access-2": "read write"}
        issue = remote.server.issue
        remote.server.issue = lambda scope="": issue("read write")  # type: ignore[method-assign]
        assert await caller.call() == "403"
        assert await caller.call() == "403"
        assert [page.get("scope") for page in remote.server.pages] == ["read", "read write", "read write admin"]


async def test_another_refusal_is_nothing_that_a_token_would_help_with(tmp_path: Path) -> None:
    async with open_protected() as remote, open_caller(remote, tmp_path) as caller:
        assert not await caller.sign_in.renew(403, [])
        assert not await caller.sign_in.renew(403, [(b"www-authenticate", b'Bearer error="access_denied"')])
        assert remote.server.paths == []


@pytest.mark.parametrize(
    ("challenged", "resource", "configured", "asked"),
    [
        ("a b", ["c"], ("d",), "a b"),
        (None, ["c", "d"], ("e",), "c d"),
        (None, None, ("e", "f"), "e f"),
        (None, None, (), None),
    ],
)
async def test_scopes_are_those_of_the_challenge_the_remote_or_the_user(
    tmp_path: Path, challenged: str | None, resource: list[str] | None, configured: tuple[str, ...], asked: str | None
) -> None:
    """And not all that the authorization server has."""
    async with open_protected() as remote:
        remote.server.metadata["scopes_supported"] = ["a", "b", "c", "d", "everything"]
        if challenged is not None:
            remote.challenge += f', scope="{challenged}"'
        if resource is not None:
            remote.resource["scopes_supported"] = resource
        async with open_caller(remote, tmp_path, replace(USER, scopes=configured)) as caller:
            await caller.call()
        assert remote.server.pages[0].get("scope") == asked
        assert json.loads(remote.server.stub.asked[1].body).get("scope") == asked


async def test_a_refresh_token_is_asked_for_where_that_takes_a_scope(tmp_path: Path) -> None:
    async with open_protected() as remote:
        remote.server.metadata["scopes_supported"] = ["offline_access"]
        remote.resource["scopes_supported"] = ["read"]
        async with open_caller(remote, tmp_path) as caller:
            await caller.call()
        assert remote.server.pages[0]["scope"] == "read offline_access"
        assert remote.server.pages[0]["prompt"] == "consent"


async def test_all_who_were_refused_wait_for_the_same_sign_in(tmp_path: Path) -> None:
    browser = Browser()
    async with open_protected() as remote, open_caller(remote, tmp_path, show=browser.show) as caller:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(caller.call)
        assert await caller.call() == "access-1"
    assert len(browser.pages) == 1


async def test_two_processes_that_want_the_same_ask_the_user_once(tmp_path: Path) -> None:
    browser = Browser()
    async with (
        open_protected() as remote,
        open_caller(remote, tmp_path, show=browser.show) as one,
        open_caller(remote, tmp_path, show=browser.show) as other,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(one.call)
        assert await other.call() == "access-1"
    assert len(browser.pages) == 1


async def test_a_token_that_another_process_has_refreshed_is_used(tmp_path: Path) -> None:
    async with open_protected() as remote, open_caller(remote, tmp_path) as one, open_caller(remote, tmp_path) as other:
        assert await one.call() == await other.call() == "access-1"
        remote.withdrawn.add("access-1")
        assert await one.call() == await other.call() == "access-2"
        assert remote.server.grants == ["authorization_code", "refresh_token"]


async def test_a_request_that_is_given_up_leaves_the_user_the_time_to_finish(tmp_path: Path) -> None:
    may_go = trio.Event()

    async def wait(url: str) -> None:
        await may_go.wait()

    browser = Browser(before=wait)
    async with open_protected() as remote, open_caller(remote, tmp_path, show=browser.show) as caller:
        with trio.move_on_after(0.5) as scope:
            await caller.call()
        assert scope.cancelled_caught
        may_go.set()
        assert await caller.call() == "access-1"
    assert len(browser.pages) == 1


# How we are known


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_who_is_registered_with_a_secret_proves_it_as_the_server_wants(tmp_path: Path, method: str) -> None:
    config = SignInConfig(browser=True, client_id="us", client_secret="our-secret")
    async with open_protected() as remote:
        remote.server.metadata |= {"token_endpoint_auth_methods_supported": [method], "registration_endpoint": None}
        for _ in range(2):
            async with open_caller(remote, tmp_path, config) as caller:
                await caller.call()
            change(tmp_path, expires_at=time.time() - 1)
        for asked, form in zip(
            [asked for asked in remote.server.stub.asked if asked.target == "/token"], remote.server.forms, strict=True
        ):
            proof = basic(asked) or (form["client_id"], form["client_secret"])
            assert proof == ("us", "our-secret")
            assert ("client_secret" in form) == (method == "client_secret_post")
        assert remote.server.grants == ["authorization_code", "refresh_token"]
    assert "our-secret" not in json.dumps(kept(tmp_path))


async def test_a_secret_that_comes_with_a_registration_is_used(tmp_path: Path) -> None:
    async with open_protected() as remote:
        remote.server.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_basic"]
        remote.server.registration = {"client_secret": "our-secret", "token_endpoint_auth_method": None}
        async with open_caller(remote, tmp_path) as caller:
            assert await caller.call() == "access-1"
        assert basic(remote.server.stub.asked[-1]) == ("client-1", "our-secret")


async def test_a_client_metadata_document_is_our_name_where_such_are_read(tmp_path: Path) -> None:
    config = replace(USER, client_metadata_url="https://us.example/client.json", redirect_port=0)
    async with open_protected() as remote:
        remote.server.metadata["client_id_metadata_document_supported"] = True
        async with open_caller(remote, tmp_path, config) as caller:
            await caller.call()
        assert remote.server.pages[0]["client_id"] == "https://us.example/client.json"
        assert remote.server.registered == 0


async def test_a_port_that_is_registered_is_the_one_that_is_used(tmp_path: Path, free_port: int) -> None:
    config = replace(USER, client_id="us", redirect_port=free_port)
    async with open_protected() as remote:
        async with open_caller(remote, tmp_path, config) as caller:
            await caller.call()
        assert remote.server.pages[0]["redirect_uri"] == f"http://127.0.0.1:{free_port}/callback"
        (listener,) = await trio.open_tcp_listeners(free_port, host="127.0.0.1")
        async with listener, open_caller(remote, tmp_path / "other", config) as caller:
            assert f"can't listen on port {free_port} for the browser" in await caller.failure()


async def test_credentials_are_not_shown_to_another_authorization_server(tmp_path: Path) -> None:
    """2026-07-28, Client Registration §Authorization Server Binding."""
    browser = Browser()
    async with (
        open_protected() as remote,
        open_protected() as other,
        open_caller(remote, tmp_path, show=browser.show) as caller,
    ):
        await caller.call()
        # The remote moves to another server, and back.
        home, remote.server = remote.server, other.server
        assert await caller.call() == "access-1"
        assert other.server.registered == 1
        assert other.server.grants == ["authorization_code"]
        remote.server = home
        remote.withdrawn.add("access-1")
        assert await caller.call() == "access-2"
        assert home.registered == 1


@pytest.mark.parametrize("named", [True, False])
async def test_who_is_registered_somewhere_is_told_that_the_remote_wants_another(tmp_path: Path, named: bool) -> None:
    async with open_protected() as remote, open_protected() as other:
        config = replace(MACHINE, issuer=remote.server.url if named else None)
        if not named:
            async with open_caller(remote, tmp_path, config) as caller:
                await caller.call()
            change(tmp_path, token=None)
        home, remote.server = remote.server, other.server
        async with open_caller(remote, tmp_path, config) as caller:
            expected = f"we are registered at {home.url}, and the remote wants tokens of {other.server.url}"
            assert expected in await caller.failure()
        assert other.server.paths == []


# Without a user


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_a_program_gets_a_token_with_its_own_secret(tmp_path: Path, method: str) -> None:
    async with open_protected() as remote:
        remote.server.metadata["token_endpoint_auth_methods_supported"] = [method]
        remote.server.metadata["code_challenge_methods_supported"] = None
        remote.server.token["refresh_token"] = None
        remote.challenge += ', scope="read"'
        async with open_caller(remote, tmp_path, MACHINE) as caller:
            assert await caller.call() == "access-1"
            remote.withdrawn.add("access-1")
            assert await caller.call() == "access-2"
        first, second = remote.server.forms
        assert first == second
        assert {name: first[name] for name in ("grant_type", "resource", "scope")} == {
            "grant_type": "client_credentials",
            "resource": remote.url,
            "scope": "read",
        }
        proof = basic(remote.server.stub.asked[-1]) or (first.get("client_id"), first.get("client_secret"))
        assert proof == ("us", "our-secret")
    assert "our-secret" not in json.dumps(kept(tmp_path))


async def test_a_token_endpoint_that_is_named_is_asked_and_nothing_is_looked_for(tmp_path: Path) -> None:
    async with open_protected() as remote:
        config = replace(MACHINE, token_url=f"{remote.server.url}/token", scopes=("read",))
        remote.has_metadata = False
        remote.challenge = ""
        async with open_caller(remote, tmp_path, config) as caller:
            assert await caller.call() == "access-1"
        assert remote.server.paths == ["/token"]
        assert remote.server.forms[0] == {"grant_type": "client_credentials", "scope": "read", "resource": remote.url}
        assert {asked.target for asked in remote.stub.asked} == {"/mcp"}


async def test_without_user_and_secret_the_remote_stays_closed_but_what_is_kept_is_used(tmp_path: Path) -> None:
    nobody = SignInConfig()
    async with open_protected() as remote:
        async with open_caller(remote, tmp_path, nobody) as caller:
            assert "there is neither a user to ask (--oauth) nor a secret (--client-secret)" in await caller.failure()
        async with open_caller(remote, tmp_path) as caller:
            await caller.call()
        change(tmp_path, expires_at=time.time() - 1)
        async with open_caller(remote, tmp_path, nobody) as caller:
            assert await caller.call() == "access-2"


# Where the authorization server is


async def test_a_remote_of_2025_03_26_is_its_own_authorization_server(tmp_path: Path) -> None:
    async with open_protected() as remote:
        remote.has_metadata = False
        remote.challenge = ""
        remote.server.url = remote.stub.url
        remote.server.stub = remote.stub
        async with open_caller(remote, tmp_path) as caller:
            assert await caller.call() == "access-1"
        assert "/.well-known/oauth-authorization-server" in remote.server.paths


async def test_a_remote_of_2025_03_26_without_metadata_has_its_endpoints_at_the_root(tmp_path: Path) -> None:
    async with open_protected() as remote:
        remote.has_metadata = False
        remote.challenge = ""
        remote.server.stub = remote.stub
        remote.server.refusals["/.well-known/oauth-authorization-server"] = Reply(b"", 404)
        for _ in range(2):
            async with open_caller(remote, tmp_path) as caller:
                await caller.call()
            change(tmp_path, expires_at=time.time() - 1)
        assert remote.server.grants == ["authorization_code", "refresh_token"]


async def test_an_authorization_endpoint_keeps_the_query_that_it_has(tmp_path: Path) -> None:
    async with open_protected() as remote:
        remote.server.metadata["authorization_endpoint"] = f"{remote.server.url}/authorize?tenant=7"
        async with open_caller(remote, tmp_path) as caller:
            await caller.call()
        assert remote.server.pages[0]["tenant"] == "7"
        assert remote.server.pages[0]["response_type"] == "code"


async def test_a_query_of_the_remote_is_not_told_to_the_authorization_server(tmp_path: Path) -> None:
    async with open_protected() as remote:
        async with open_caller(remote, tmp_path, url=f"{remote.url}?key=our-secret") as caller:
            await caller.call()
        assert remote.server.pages[0]["resource"] == remote.url
        assert "our-secret" not in str(remote.server.stub.asked)
    assert "our-secret" not in json.dumps(kept(tmp_path))


async def test_redirects_within_the_authorization_server_are_followed_and_others_are_not(tmp_path: Path) -> None:
    async with open_protected() as remote, open_stub(always(Reply({"access_token": "access-evil"}))) as evil:
        moved = {"location": "/.well-known/moved"}
        remote.server.refusals["/.well-known/oauth-authorization-server"] = Reply(b"", 302, moved)
        remote.server.refusals["/.well-known/moved"] = Reply(remote.server.described())
        remote.server.refusals["/token"] = Reply(b"", 307, {"location": f"{evil.url}/token"})
        async with open_caller(remote, tmp_path) as caller:
            assert f"redirected to {evil.url}/token; not followed" in await caller.failure()
        assert remote.server.registered == 1
        assert evil.asked == []


# Refusals


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"code_challenge_methods_supported": None}, "does not say that it supports PKCE with S256"),
        ({"code_challenge_methods_supported": ["plain"]}, "does not say that it supports PKCE with S256"),
        ({"issuer": "https://evil.example"}, "Authorization server metadata issuer mismatch"),
        (
            {"authorization_endpoint": "http://auth.example/authorize"},
            "the authorization endpoint http://auth.example/author",
        ),
        (
            {"registration_endpoint": "http://auth.example/register"},
            "http://auth.example/register is not asked: only https is",
        ),
        ({"token_endpoint": "http://auth.example/token"}, "http://auth.example/token is not asked: only https is"),
    ],
)
async def test_an_authorization_server_that_is_not_to_be_trusted_is_not(
    tmp_path: Path, metadata: dict[str, Any], reason: str
) -> None:
    browser = Browser()
    async with open_protected() as remote:
        remote.server.metadata |= metadata
        async with open_caller(remote, tmp_path, show=browser.show) as caller:
            assert reason in await caller.failure()
    assert browser.pages == [] or "token_endpoint" in metadata


@pytest.mark.parametrize("status", [404, 500])
async def test_nothing_is_guessed_where_the_remote_names_its_authorization_server(tmp_path: Path, status: int) -> None:
    async with open_protected() as remote:
        for path in ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"):
            remote.server.refusals[path] = Reply(b"", status)
        async with open_caller(remote, tmp_path) as caller:
            assert f"the authorization server {remote.server.url} has no metadata" in await caller.failure()
        assert not {"/register", "/authorize", "/token"} & {asked.target for asked in remote.stub.asked}


async def test_metadata_of_another_resource_are_not_believed(tmp_path: Path) -> None:
    async with open_protected() as remote:
        remote.resource["resource"] = "https://evil.example/mcp"
        async with open_caller(remote, tmp_path) as caller:
            assert "does not match" in await caller.failure()
        assert remote.server.paths == []


@pytest.mark.parametrize(
    ("advertised", "iss", "reason"),
    [
        (True, None, "Authorization response missing iss parameter"),
        (True, "https://evil.example", "Authorization response iss mismatch"),
        (None, "https://evil.example", "Authorization response iss mismatch"),
        (True, "{url}/", "Authorization response iss mismatch"),
        (True, "{url}", None),
        (None, "{url}", None),
    ],
)
async def test_who_answers_in_the_browser_has_to_be_whom_we_asked(
    tmp_path: Path, advertised: bool | None, iss: str | None, reason: str | None
) -> None:
    """Also where the answer is an error, of which nothing is shown then."""
    async with open_protected() as remote:
        remote.server.metadata["authorization_response_iss_parameter_supported"] = advertised
        remote.server.authorization = {} if iss is None else {"iss": iss.format(url=remote.server.url)}
        async with open_caller(remote, tmp_path) as caller:
            if reason is None:
                assert await caller.call() == "access-1"
                return
            remote.server.authorization |= {"error": "login_again_at_evil", "code": ""}
            failure = await caller.failure()
        assert reason in failure
        assert "login_again" not in failure
        assert remote.server.forms == []


async def test_a_user_who_says_no_is_heard_and_not_asked_again_at_once(tmp_path: Path) -> None:
    browser = Browser()
    async with open_protected() as remote, open_caller(remote, tmp_path, show=browser.show) as caller:
        remote.server.authorization = {"code": "", "error": "access_denied", "error_description": "Not today"}
        failure = await caller.failure()
        assert failure == f"signing in to {remote.url} failed: the authorization server refuses: access_denied: Not today"
        assert "Not today (tried again after 30 s)" in await caller.failure()
    assert len(browser.pages) == 1


async def test_a_response_of_somebody_else_changes_nothing(tmp_path: Path) -> None:
    """Any page in the browser can have it send requests to this machine."""
    answers: list[str] = []

    async def attack(url: str) -> None:
        back = query(url)["redirect_uri"]
        async with open_http_client() as client:
            said = [
                "?code=evil&state=guessed",
                "?code=evil",
                "?error=access_denied",
                f"?state={query(url)['state']}&state=x",
            ]
            answers.extend([await visit(client, back + one) for one in said])

    browser = Browser(before=attack)
    async with open_protected() as remote, open_caller(remote, tmp_path, show=browser.show) as caller:
        assert await caller.call() == "access-1"
    assert len(answers) == 4
    assert all("does not belong to a sign-in" in answer for answer in answers)


async def test_a_user_who_never_comes_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    async with open_protected() as remote, open_caller(remote, tmp_path, show=sleeping, time_limit=0.1) as caller:
        assert "failed: nobody has signed in within 0.1 s" in await caller.failure()


async def test_a_block_that_is_left_in_the_middle_leaves_nothing_but_the_registration(tmp_path: Path) -> None:
    shown = trio.Event()

    async def show(url: str) -> None:
        shown.set()
        await trio.sleep_forever()

    async with open_protected() as remote:
        with trio.CancelScope() as scope:
            async with open_caller(remote, tmp_path, show=show) as caller, trio.open_nursery() as nursery:
                nursery.start_soon(caller.call)
                await shown.wait()
                scope.cancel()
        async with open_caller(remote, tmp_path) as caller:
            assert await caller.call() == "access-1"
        assert remote.server.registered == 1


@pytest.mark.parametrize(
    ("path", "reply", "reason"),
    [
        ("/register", Reply({"error": "invalid_redirect_uri", "error_description": "no"}, 400), "invalid_redirect_uri: no"),
        ("/register", Reply({"client_secret": "our-secret"}, 201), "the registration endpoint answers without a client id"),
        ("/register", Reply({"client_id": "x", "client_secret": ["our-secret"]}, 201), "an answer that makes no sense"),
        ("/register", Reply(b"<html>", 500), "registration refused: HTTP 500"),
        (
            "/token",
            Reply({"error": "invalid_grant", "error_description": "code-0 is used"}, 400),
            "invalid_grant: … is used",
        ),
        ("/token", Reply(b"access-1", 200), "the token endpoint answers without an access token"),
        ("/token", Reply({"access_token": "access-1\r\nx: y"}), "an access token that no header can carry"),
        ("/token", Reply({"access_token": "access-1", "token_type": "DPoP"}), "a token of type 'DPoP'; expected Bearer"),
        ("/token", Reply({"access_token": "access-1", "expires_in": 0}), "no longer good"),
        ("/token", Reply(b"x" * 300_000), "more than 262144 bytes"),
    ],
)
async def test_an_answer_that_is_no_token_is_told_without_what_is_in_it(
    tmp_path: Path, path: str, reply: Reply, reason: str
) -> None:
    async with open_protected() as remote:
        remote.server.refusals[path] = reply
        async with open_caller(remote, tmp_path) as caller:
            assert reason in await caller.failure()


async def test_a_remote_that_refuses_whatever_token_it_gets_does_not_open_window_after_window(tmp_path: Path) -> None:
    browser = Browser()
    async with open_protected() as remote, open_caller(remote, tmp_path, show=browser.show) as caller:
        remote.server.token["refresh_token"] = None
        remote.withdrawn = {f"access-{n}" for n in range(99)}
        assert [await caller.call() for _ in range(4)] == ["401"] * 4
        assert "3 tokens were refused within 60 s, each of them fresh" in await caller.failure()
    assert len(browser.pages) == 4


async def test_a_remote_that_everybody_can_listen_to_gets_no_token(tmp_path: Path) -> None:
    async with open_protected() as remote:
        with pytest.raises(ConfigError, match="signing in takes an https URL"):
            async with open_caller(remote, tmp_path, url="http://mcp.example.com/mcp?key=our-secret"):
                pass


async def test_a_token_file_that_can_not_be_read_is_told_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens.json"
    config = replace(USER, token_file=path)
    for content in ("{", "[]", '{"version": 2}', '{"version": 1, "remotes": 7}'):
        path.write_text(content)
        caplog.clear()
        async with open_protected() as remote, open_caller(remote, tmp_path, config) as caller:
            assert await caller.call() == "access-1"
        assert f"the token file {path} can't be read: not what we wrote there" in caplog.text
        assert "access-1" in path.read_text()
        assert path.stat().st_mode & 0o777 == 0o600


async def test_where_nothing_can_be_written_a_token_holds_for_this_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    config = replace(USER, token_file=tmp_path / "file" / "tokens.json")
    async with open_protected() as remote, open_caller(remote, tmp_path, config) as caller:
        assert await caller.call() == "access-1"
        remote.withdrawn.add("access-1")
        assert await caller.call() == "access-2"
    assert "can't be written: " in caplog.text
    assert len(remote.server.pages) == 1


# As a user would


async def test_the_browser_of_the_user_is_opened_and_the_page_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """BROWSER is honoured, and what a browser writes does not get between our messages."""
    script = tmp_path / "browser"
    script.write_text(
        "#!/usr/bin/env python3\n"
        "import sys, urllib.request\n"
        "print('Opening in existing browser session.')\n"
        "urllib.request.urlopen(sys.argv[1]).read()\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(script))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with open_protected() as remote, open_http_client() as client:
        config = RemoteConfig(remote.url, sign_in=USER)
        environ = {"HOME": str(tmp_path)}
        async with open_sign_in(config, client, environ=environ) as sign_in:
            assert await Caller(client, sign_in, remote.url).call() == "access-1"
    out, err = capfd.readouterr()
    assert out == ""
    assert f"open this page:\n\n    {remote.server.url}/authorize?response_type=code&" in err
    assert len(list((tmp_path / ".local/state/trioproxy").glob("127.0.0.1-*.json"))) == 1
    assert os.environ["BROWSER"] == str(script)


async def test_authorization_servers_are_asked_as_the_remote_is_with_its_proxies(tmp_path: Path) -> None:
    async def answer(asked: Asked) -> Reply:
        return Reply(b"", 418)

    async with open_protected() as remote, open_stub(answer) as proxy:
        port = remote.stub.url.rpartition(":")[2]
        proxies = Proxies.from_environment({"HTTP_PROXY": proxy.url, "NO_PROXY": f"127.0.0.1:{port}"})
        async with (
            open_http_client(proxies=proxies) as client,
            open_sign_in(
                RemoteConfig(remote.url, sign_in=USER), client, environ={"XDG_STATE_HOME": str(tmp_path)}, show=sleeping
            ) as sign_in,
        ):
            await Caller(client, sign_in, remote.url).failure()
        assert proxy.asked[0].target == f"{remote.server.url}/.well-known/oauth-authorization-server"
        assert remote.server.paths == []
