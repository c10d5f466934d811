"""Some may come in and others may not, by what their requests say of them."""

from __future__ import annotations

import pytest

from tests.auth.issuing import AUDIENCE, open_issuer
from tests.proxies import DEMO
from tests.real.sdk_ways import sdk_warnings
from tests.stub_http import Asked, Reply, open_stub
from trioproxy import (
    AuthConfig,
    AuthenticationError,
    AuthRequest,
    ChildConfig,
    Config,
    HttpError,
    InsufficientScope,
    ListenConfig,
    Principal,
    ProtocolError,
    api_key_auth,
    first_of,
    header_auth,
    oauth_auth,
    open_proxy,
    remote_auth,
)

from .clients import call, connect, initialize, request

pytestmark = sdk_warnings


def config_with(auth: AuthConfig) -> Config:
    return Config(child=ChildConfig(DEMO), listen=ListenConfig(port=0), auth=auth)


async def test_keys_in_the_configuration() -> None:
    async with open_proxy(config_with(AuthConfig(api_keys=("old-key", "new-key")))) as proxy:
        assert (await initialize(proxy.url)).status_code == 401
        assert (await initialize(proxy.url, x_api_key="guessed")).status_code == 401
        async with connect(proxy.url, {"authorization": "Bearer new-key"}) as client:
            assert await call(client, "echo", text="hello") == "hello"


async def test_api_key_auth() -> None:
    authenticate = api_key_auth(["k3y"], header_name="x-tool-key")
    async with open_proxy(config_with(AuthConfig(authenticate=authenticate))) as proxy:
        assert (await initialize(proxy.url, x_api_key="k3y")).status_code == 401
        async with connect(proxy.url, {"x-tool-key": "k3y"}) as client:
            assert await call(client, "echo", text="hello") == "hello"


async def test_header_auth() -> None:
    async with open_proxy(config_with(AuthConfig(authenticate=header_auth("alice")))) as proxy:
        assert (await initialize(proxy.url, x_user_id="bob")).status_code == 401
        async with connect(proxy.url, {"x-user-id": "alice"}) as client:
            assert await call(client, "echo", text="hello") == "hello"


async def test_remote_auth() -> None:
    async def know(asked: Asked) -> Reply:
        return Reply({"valid": asked.target == "/check?apiKey=k3y", "userId": "alice"})

    async with open_stub(know) as authentication_server:
        authenticate = remote_auth(f"{authentication_server.url}/check", cache_time=10)
        async with open_proxy(config_with(AuthConfig(authenticate=authenticate))) as proxy:
            assert (await initialize(proxy.url, x_api_key="guessed")).status_code == 401
            async with connect(proxy.url, {"x-api-key": "k3y"}) as client:
                assert await call(client, "echo", text="hello") == "hello"
        # Twice, however many requests there were.
        assert authentication_server.targets == ["/check?apiKey=guessed", "/check?apiKey=k3y"]


async def test_oauth_auth() -> None:
    async with open_issuer() as issuer:
        authenticate = oauth_auth(issuer.url, [AUDIENCE], scopes=["write"])
        async with open_proxy(config_with(AuthConfig(authenticate=authenticate))) as proxy:
            reader = issuer.token(scope="read")
            refused = await initialize(proxy.url, authorization=f"Bearer {reader}")
            assert (refused.status_code, refused.json()["error"]["data"]["required_scopes"]) == (403, ["write"])
            async with connect(proxy.url, {"authorization": f"Bearer {issuer.token()}"}) as client:
                assert await call(client, "echo", text="hello") == "hello"


async def test_an_authenticate_of_your_own() -> None:
    async def authenticate(request: AuthRequest) -> Principal | None:
        match request.bearer:
            case None:
                return None  # nothing to go by
            case "alice's":
                return Principal("alice", permissions=("read", "write"))
            case "bob's":
                raise InsufficientScope("Bob may only look", scopes=["write"])
            case "eve's":
                raise HttpError(429, [(b"retry-after", b"60"), (b"content-type", b"text/plain")], b"not so fast")
        raise AuthenticationError("that token is nobody's", error="invalid_token")

    assert issubclass(AuthenticationError, ProtocolError)
    async with open_proxy(config_with(AuthConfig(authenticate=authenticate))) as proxy:
        async with connect(proxy.url, {"authorization": "Bearer alice's"}) as client:
            assert await call(client, "echo", text="hello") == "hello"

        unknown = await initialize(proxy.url, authorization="Bearer carol's")
        assert (unknown.status_code, unknown.json()["error"]["message"]) == (401, "that token is nobody's")
        assert 'error="invalid_token"' in unknown.headers["www-authenticate"]

        weak = await initialize(proxy.url, authorization="Bearer bob's")
        assert (weak.status_code, 'scope="write"' in weak.headers["www-authenticate"]) == (403, True)

        throttled = await initialize(proxy.url, authorization="Bearer eve's")
        assert (throttled.status_code, throttled.headers["retry-after"], throttled.text) == (429, "60", "not so fast")


@pytest.mark.parametrize("header", [{"x_user_id": "alice"}, {"x_api_key": "k3y"}])
async def test_first_of_several_ways_will_do(header: dict[str, str]) -> None:
    authenticate = first_of(header_auth("alice"), api_key_auth(["k3y"]))
    async with open_proxy(config_with(AuthConfig(authenticate=authenticate))) as proxy:
        assert (await initialize(proxy.url)).status_code == 401
        assert (await initialize(proxy.url, **header)).status_code == 200


async def test_a_session_belongs_to_who_opened_it() -> None:
    authenticate = first_of(header_auth("alice"), header_auth("bob"))
    async with open_proxy(config_with(AuthConfig(authenticate=authenticate))) as proxy:
        session_id = (await initialize(proxy.url, x_user_id="alice")).headers["mcp-session-id"]
        for user, status in (("bob", 404), ("alice", 204)):
            ended = await request("DELETE", proxy.url, x_user_id=user, mcp_session_id=session_id)
            assert ended.status_code == status, user
