"""All that is configured together, and what is said to whoever is not let in."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.auth.asking import asking, bearer, way_to
from tests.auth.issuing import AUDIENCE, Issuer, open_issuer
from tests.stub_http import Reply, always, open_stub
from trioproxy.auth import AuthRequest, HttpError, Principal
from trioproxy.auth.authenticator import Authenticator, open_authenticator
from trioproxy.config import AuthConfig
from trioproxy.protocol.errors import (
    AuthenticationError,
    AuthenticationUnavailable,
    InsufficientScope,
    KeyFileError,
    MalformedCredentials,
    TrioproxyError,
)

ENDPOINTS = ("/mcp", "/sse", "/messages")
KEY = "sk-one"
ALICE = {"valid": True, "userId": "alice"}
METADATA = 'resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource'


async def refusal(config: AuthConfig, request: AuthRequest) -> TrioproxyError:
    """Return what keeps a request out."""
    async with open_authenticator(config, ENDPOINTS) as authenticator:
        with pytest.raises(TrioproxyError) as caught:
            await authenticator.authenticate(request)
    return caught.value


async def challenge(config: AuthConfig, request: AuthRequest) -> str:
    """Return the challenge that goes with what keeps a request out."""
    ((name, value),) = (await refusal(config, request)).headers
    assert name == b"www-authenticate"
    return value.decode()


def oauth(issuer: Issuer, **fields: Any) -> AuthConfig:
    return AuthConfig(oauth_issuer=issuer.url, oauth_audiences=(AUDIENCE,), **fields)


# Who comes in


async def test_where_nothing_is_configured_everybody_comes_in_and_is_nobody_in_particular() -> None:
    async with open_authenticator(AuthConfig(), ENDPOINTS) as authenticator:
        for request in (asking(), bearer("x"), asking(("Authorization", "a"), ("Authorization", "b"))):
            assert await authenticator.authenticate(request) is None
        assert authenticator.metadata_paths == frozenset()
        authenticator.reload()


async def test_any_of_the_configured_ways_will_do(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("sk-two\n")
    async with open_issuer() as issuer, open_stub(always(Reply(ALICE))) as stub:
        config = oauth(issuer, api_keys=(KEY,), api_key_file=file, server_url=stub.url)
        async with open_authenticator(config, ENDPOINTS) as authenticator:
            names = {}
            for key in (KEY, "sk-two", "sk-three", issuer.token(sub="bob")):
                principal = await authenticator.authenticate(bearer(key))
                assert principal is not None
                names[principal.authority] = principal.id
        assert names["authentication-server"] == "alice"
        assert names[issuer.url] == "bob"
        assert names["api-key"].startswith("key-")
        # What we know ourselves, and what is a token, the other server does not get to see.
        assert stub.targets == ["/?apiKey=sk-three"]


async def test_a_way_of_ones_own_counts_like_any_other() -> None:
    """`authenticate` of npm's mcp-proxy."""

    async def authenticate(request: AuthRequest) -> Principal | None:
        return Principal("carol", scopes=("read",)) if request.header("X-Ticket") == "good" else None

    async with open_authenticator(AuthConfig(api_keys=(KEY,), authenticate=authenticate), ENDPOINTS) as authenticator:
        assert await authenticator.authenticate(asking(("X-Ticket", "good"))) == Principal("carol", scopes=("read",))
        assert await authenticator.authenticate(bearer(KEY)) is not None
        with pytest.raises(AuthenticationError):
            await authenticator.authenticate(asking(("X-Ticket", "bad")))


async def test_the_user_id_is_asked_for_on_top_of_all_else() -> None:
    config = AuthConfig(api_keys=(KEY,), user_id="alice")
    async with open_authenticator(config, ENDPOINTS) as authenticator:
        principal = await authenticator.authenticate(asking(("x-api-key", KEY), ("x-user-id", "alice")))
        assert principal is not None
        assert principal.authority == "api-key"
    for request in (asking(("x-api-key", KEY)), asking(("x-user-id", "alice")), bearer(KEY)):
        assert isinstance(await refusal(config, request), AuthenticationError)


async def test_the_user_id_alone_is_enough_where_nothing_else_is_configured() -> None:
    async with open_authenticator(AuthConfig(user_id="alice"), ENDPOINTS) as authenticator:
        principal = await authenticator.authenticate(asking(("x-user-id", "alice")))
        assert principal is not None
        assert principal.id == "alice"


async def test_where_one_way_is_down_the_others_still_let_in(free_port: int) -> None:
    config = AuthConfig(api_keys=(KEY,), server_url=f"http://127.0.0.1:{free_port}")
    async with open_authenticator(config, ENDPOINTS) as authenticator:
        assert await authenticator.authenticate(bearer(KEY)) is not None
    error = await refusal(config, bearer("sk-other"))
    assert isinstance(error, AuthenticationUnavailable)
    assert error.headers == ((b"retry-after", b"5"),)


async def test_an_issuer_and_a_server_that_are_away_are_no_reason_not_to_start(free_port: int) -> None:
    away = f"http://127.0.0.1:{free_port}"
    config = AuthConfig(server_url=away, oauth_issuer=away, oauth_audiences=("x",))
    assert isinstance(await refusal(config, asking()), AuthenticationError)
    assert isinstance(await refusal(config, bearer(Issuer(away).token())), AuthenticationUnavailable)


# Who does not


async def test_who_says_nothing_is_told_what_would_help_and_no_error_code() -> None:
    """RFC 6750 §3.1: without credentials "the resource server SHOULD NOT include an error code"."""
    error = await refusal(AuthConfig(api_keys=(KEY,), api_key_header_name="X-Secret"), asking())
    assert str(error) == "credentials are required: a key as X-Secret or as Authorization: Bearer"
    assert error.headers == ((b"www-authenticate", b'Bearer realm="mcp"'),)


async def test_who_has_no_token_is_led_to_where_tokens_come_from() -> None:
    """2026-07-28, Authorization §Scope Selection Strategy, its example."""
    config = oauth(Issuer(), oauth_scopes=("files:read", "files:write"), oauth_realm="my server")
    assert await challenge(config, asking()) == f'Bearer realm="my server", {METADATA}/mcp", scope="files:read files:write"'
    assert f"a token of {Issuer().url}" in str(await refusal(config, asking()))


async def test_who_has_a_bad_token_is_told_what_is_bad_about_it() -> None:
    async with open_issuer() as issuer:
        value = await challenge(oauth(issuer), bearer(issuer.token(exp=1)))
    assert value == (
        f'Bearer realm="mcp", {METADATA}/mcp", error="invalid_token", error_description="the token has expired"'
    )


async def test_who_has_a_bad_key_is_told_so_without_a_repetition() -> None:
    value = await challenge(AuthConfig(api_keys=(KEY,)), bearer("sk-wrong"))
    assert value == 'Bearer realm="mcp", error="invalid_token", error_description="the API key is not known here"'


async def test_who_may_not_do_this_is_told_all_the_scopes_that_it_takes() -> None:
    async with open_issuer() as issuer:
        config = oauth(issuer, oauth_scopes=("read", "admin"))
        error = await refusal(config, bearer(issuer.token()))
    assert isinstance(error, InsufficientScope)
    assert error.headers[0][1].decode() == (
        f'Bearer realm="mcp", {METADATA}/mcp", scope="read admin", error="insufficient_scope", '
        'error_description="the token does not have the scope admin"'
    )


async def test_credentials_that_can_not_be_read_are_told() -> None:
    error = await refusal(AuthConfig(api_keys=(KEY,)), asking(("x-api-key", KEY), ("x-api-key", KEY)))
    assert isinstance(error, MalformedCredentials)
    assert b'error="invalid_request", error_description="x-api-key comes 2 times"' in error.headers[0][1]


@pytest.mark.parametrize(
    ("error", "value"),
    [
        (
            AuthenticationError('bad "ticket"\r\nX: y', error="invalid_token"),
            'Bearer realm="mcp", error="invalid_token", error_description="bad \'ticket\'?X: y"',
        ),
        (AuthenticationError("no ticket"), 'Bearer realm="mcp"'),
        (
            InsufficientScope("more", scopes=["a", 'b"']),
            'Bearer realm="mcp", scope="a", error="insufficient_scope", error_description="more"',
        ),
    ],
)
async def test_what_a_way_of_ones_own_says_becomes_a_challenge_whatever_it_is(error: TrioproxyError, value: str) -> None:
    """A line end in a message ends npm's mcp-proxy."""
    assert await challenge(AuthConfig(authenticate=way_to(error)), asking()) == value


async def test_a_way_of_ones_own_may_have_an_answer_of_its_own() -> None:
    async with open_authenticator(AuthConfig(authenticate=way_to(HttpError(402))), ENDPOINTS) as authenticator:
        with pytest.raises(HttpError):
            await authenticator.authenticate(asking())


# Metadata


async def read_metadata(authenticator: Authenticator, request: AuthRequest) -> Any:
    assert request.path in authenticator.metadata_paths
    return json.loads(authenticator.metadata(request))


async def test_metadata_is_served_for_the_whole_and_for_each_endpoint() -> None:
    """2026-07-28, Authorization Server Discovery §Protected Resource Metadata Discovery Requirements: both places."""
    well_known = "/.well-known/oauth-protected-resource"
    async with open_authenticator(oauth(Issuer(), oauth_scopes=("read",)), ENDPOINTS) as authenticator:
        assert authenticator.metadata_paths == {
            well_known,
            f"{well_known}/mcp",
            f"{well_known}/sse",
            f"{well_known}/messages",
        }
        for path in (well_known, f"{well_known}/mcp"):
            assert await read_metadata(authenticator, asking(path=path)) == {
                "resource": AUDIENCE,
                "authorization_servers": [Issuer().url],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["read"],
            }
        sse = await read_metadata(authenticator, asking(path=f"{well_known}/sse"))
        assert sse["resource"] == "https://mcp.example.com/sse"


@pytest.mark.parametrize(
    ("scope", "audience", "resource", "metadata"),
    [
        # The client came to where the audience says that we are.
        ({}, "https://mcp.example.com/mcp", "https://mcp.example.com/mcp", "https://mcp.example.com"),
        # Somebody before us serves HTTPS, and says nothing of it.
        ({"scheme": "http"}, "https://mcp.example.com/mcp", "https://mcp.example.com/mcp", "https://mcp.example.com"),
        # The audience is a name of something else.
        ({}, "https://my-api/", "https://mcp.example.com/mcp", "https://mcp.example.com"),
        ({"scheme": "http"}, "api://mcp", "http://mcp.example.com/mcp", "http://mcp.example.com"),
        # Somebody before us takes a prefix off.
        (
            {"root_path": "/up"},
            "https://mcp.example.com/up/mcp",
            "https://mcp.example.com/up/mcp",
            "https://mcp.example.com/up",
        ),
        ({"root_path": "/up"}, "api://mcp", "https://mcp.example.com/up/mcp", "https://mcp.example.com/up"),
    ],
)
async def test_metadata_is_about_where_the_client_finds_us(
    scope: dict[str, str], audience: str, resource: str, metadata: str
) -> None:
    """RFC 9728 §3.3: a client takes only metadata whose `resource` is the URL that it uses."""
    config = AuthConfig(oauth_issuer=Issuer().url, oauth_audiences=(audience,))
    path = "/.well-known/oauth-protected-resource/mcp"
    async with open_authenticator(config, ENDPOINTS) as authenticator:
        assert (await read_metadata(authenticator, asking(path=path, **scope)))["resource"] == resource
    assert f'resource_metadata="{metadata}{path}"' in await challenge(config, asking(**scope))


async def test_a_challenge_leads_to_the_metadata_of_the_endpoint_that_was_asked() -> None:
    config = oauth(Issuer())
    assert f'{METADATA}/sse"' in await challenge(config, asking(path="/sse"))
    assert f'{METADATA}/mcp"' in await challenge(config, asking(path="/metrics"))


# The file of keys


async def test_the_file_of_keys_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n")
    async with open_authenticator(AuthConfig(api_key_file=file), ENDPOINTS) as authenticator:
        assert await authenticator.authenticate(bearer(KEY)) is not None
        file.write_text("sk-two\n")
        authenticator.reload()
        assert await authenticator.authenticate(bearer("sk-two")) is not None
        with pytest.raises(AuthenticationError):
            await authenticator.authenticate(bearer(KEY))
        file.unlink()
        with pytest.raises(KeyFileError):
            authenticator.reload()
        assert await authenticator.authenticate(bearer("sk-two")) is not None


async def test_a_file_of_keys_that_is_not_there_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        async with open_authenticator(AuthConfig(api_key_file=tmp_path / "keys"), ENDPOINTS):
            pass


async def test_what_is_probably_a_mistake_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    file = tmp_path / "keys"
    file.write_text("")
    config = AuthConfig(api_key_file=file, server_url="http://auth.example/?password=s3cret")
    async with open_authenticator(config, ENDPOINTS):
        pass
    assert [record.getMessage() for record in caplog.records] == [
        f"{file} has no key: nobody gets in with one",
        "the authentication server is asked over plain HTTP: who is on the way can read the keys",
    ]


# Weight


def test_what_verifies_tokens_is_loaded_only_where_there_are_tokens() -> None:
    program = """
import sys, trio
from trioproxy.auth.authenticator import open_authenticator
from trioproxy.config import AuthConfig

async def main(config):
    async with open_authenticator(config, ("/mcp",)):
        pass

trio.run(main, AuthConfig(api_keys=("k",), server_url="https://a", user_id="u"))
assert not {"jwt", "cryptography"} & set(sys.modules), "loaded for nothing"
trio.run(main, AuthConfig(oauth_issuer="https://a", oauth_audiences=("x",)))
assert {"jwt", "cryptography"} <= set(sys.modules)
"""
    ended = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
