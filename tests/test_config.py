"""A configuration that can't be served is an error at its birth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trioproxy.config import (
    AuthConfig,
    ChildConfig,
    Config,
    ConfigError,
    CorsOptions,
    EndpointConfig,
    LimitConfig,
    ListenConfig,
    LogConfig,
    TimeConfig,
    is_url_path,
)

PEM = Path("x.pem")


def oauth(**fields: Any) -> AuthConfig:
    return AuthConfig(**{"oauth_issuer": "https://i", "oauth_audiences": ("a",), **fields})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ListenConfig(port=65536), "--port 65536: a port is a number from 0 to 65535"),
        (lambda: ListenConfig(port=-1), "--port -1"),
        (lambda: ListenConfig(ssl_cert=PEM), "--ssl-cert and --ssl-key go together"),
        (lambda: ListenConfig(ssl_key=PEM), "--ssl-cert and --ssl-key go together"),
        (lambda: ListenConfig(ssl_ca=PEM), "--ssl-ca and --ssl-verify-client need --ssl-cert"),
        (lambda: ListenConfig(ssl_cert=PEM, ssl_key=PEM, ssl_verify_client=True), "--ssl-verify-client needs --ssl-ca"),
        (lambda: ListenConfig(root_path="mcp"), "--root-path 'mcp': a path starts with /"),
        (lambda: ListenConfig(root_path="/a\r\nb"), "--root-path '/a\\r\\nb': a path starts with /"),
        (lambda: EndpointConfig(servers=frozenset()), "--server []: expected sse, stream or both"),
        (lambda: EndpointConfig(stream_endpoint="mcp"), "--stream-endpoint 'mcp': a path starts with /"),
        (lambda: EndpointConfig(sse_endpoint="/a b"), "--sse-endpoint '/a b': a path starts with /"),
        (lambda: EndpointConfig(message_endpoint="/m?x"), "--message-endpoint '/m?x'"),
        (lambda: EndpointConfig(health_endpoint="//h"), "--health-endpoint '//h'"),
        (lambda: EndpointConfig(health_endpoint="/ping"), "--health-endpoint /ping: that path is taken"),
        (lambda: EndpointConfig(sse_endpoint="/mcp"), "--sse-endpoint /mcp: that path is taken by --stream-endpoint"),
        (lambda: EndpointConfig(sse_endpoint="/metrics"), "--sse-endpoint /metrics: that path is taken by the metrics"),
        (lambda: EndpointConfig(metrics=False, metrics_auth=True), "--metrics-auth and --no-metrics contradict each other"),
        (lambda: AuthConfig(api_keys=("",)), "--api-key: a key is visible ASCII characters without spaces"),
        (lambda: AuthConfig(api_keys=("good", "s3cret\n")), "--api-key: a key is visible ASCII characters without spaces"),
        (lambda: AuthConfig(api_key_header_name="a:b"), "--api-key-header-name 'a:b': expected the name of a header"),
        (lambda: AuthConfig(api_key_in_query=True), "--api-key-in-query says where a key may be, and there is none"),
        (lambda: AuthConfig(server_url="https://user:s3cret@h"), "--auth-server-url: expected a URL of http or https"),
        (lambda: AuthConfig(cache_time=-1), "--auth-cache -1: a time is 0 or more"),
        (lambda: AuthConfig(cache_time=float("nan")), "--auth-cache nan: a time is 0 or more"),
        (lambda: AuthConfig(user_id=""), "--user-id '': expected printable characters"),
        (lambda: AuthConfig(user_id="a\n"), "--user-id 'a\\n': expected printable characters"),
        (lambda: AuthConfig(oauth_audiences=("a",)), "--oauth-audience, --oauth-scope and --oauth-jwks-url need"),
        (lambda: AuthConfig(oauth_issuer="https://i"), "--oauth-issuer needs --oauth-audience"),
        (lambda: AuthConfig(oauth_issuer="https://i", oauth_audiences=("",)), "--oauth-issuer needs --oauth-audience"),
        (lambda: oauth(oauth_issuer="http://i.example"), "--oauth-issuer 'http://i.example': expected an https URL"),
        (
            lambda: oauth(oauth_issuer="https://i/?a=b"),
            "--oauth-issuer 'https://i/?a=b': expected an https URL without query",
        ),
        (lambda: oauth(oauth_jwks_url="http://i.example"), "--oauth-jwks-url 'http://i.example': expected an https URL"),
        (lambda: oauth(oauth_scopes=("a b",)), "--oauth-scope 'a b': a scope is visible ASCII without quotes"),
        (lambda: oauth(oauth_realm="a\r\n"), "--oauth-realm 'a\\r\\n': expected printable ASCII characters"),
        (lambda: CorsOptions(origin="app.example"), "--cors-origin 'app.example' is no origin: expected *, an origin such"),
        (lambda: CorsOptions(origin=["regex:["]), "--cors-origin 'regex:[': unterminated character set"),
        (lambda: CorsOptions(origin="*", credentials=True), "--cors-origin '*' and credentials exclude each other"),
        (lambda: CorsOptions(allowed_headers=["a b"]), "'a b': expected the name of a header or a method"),
        (lambda: CorsOptions(methods=["GET\r\nX: y"]), "'GET\\r\\nX: y': expected the name"),
        (lambda: CorsOptions(max_age=-1), "max_age -1: a time is 0 or more"),
        (lambda: ChildConfig(()), "no command"),
        (lambda: ChildConfig(("",)), "no command"),
        (lambda: ChildConfig(("x",), spares=-1), "--spares -1"),
        (lambda: ChildConfig(("x",), max_message_size=0), "--max-message-size 0: a size is above 0, or None"),
        (lambda: ChildConfig(("x",), environment={"A=B": ""}), "--env 'A=B'"),
        (lambda: ChildConfig(("x",), environment={"": ""}), "--env ''"),
        (lambda: ChildConfig(("x",), environment={"A": "\0"}), "--env 'A'"),
        (lambda: TimeConfig(request_timeout=0), "--request-timeout 0: a time is above 0, or None for no limit"),
        (lambda: TimeConfig(connection_timeout=-1), "--connection-timeout -1"),
        (lambda: TimeConfig(session_idle_timeout=float("nan")), "--session-idle-timeout nan"),
        (lambda: TimeConfig(graceful_shutdown_timeout=-1), "--graceful-shutdown-timeout -1: a time is 0 or more"),
        (lambda: LimitConfig(max_sessions=0), "--max-sessions 0: a limit is above 0, or None for no limit"),
        (lambda: LimitConfig(event_store_max_bytes=-1), "--event-store-max-bytes -1"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_option_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_the_path_of_a_transport_that_is_not_served_is_free_for_another() -> None:
    assert EndpointConfig(frozenset({"sse"}), sse_endpoint="/mcp").sse_endpoint == "/mcp"
    assert EndpointConfig(frozenset({"stream"}), stream_endpoint="/messages").stream_endpoint == "/messages"


def test_without_metrics_their_path_is_free() -> None:
    assert EndpointConfig(metrics=False, sse_endpoint="/metrics").sse_endpoint == "/metrics"


@pytest.mark.parametrize(
    ("origin", "is_open"), [((), False), ("*", True), (["https://a.example", "*"], True), (lambda origin: True, False)]
)
def test_only_a_star_says_that_every_page_may_call(origin: str | list[str] | Callable[[str], bool], is_open: bool) -> None:
    assert CorsOptions(origin=origin).is_open is is_open


@pytest.mark.parametrize(("given", "kept"), [("", ""), ("/", ""), ("/up", "/up"), ("/up/", "/up"), ("/a/b/", "/a/b")])
def test_a_root_path_is_kept_so_that_a_path_can_follow_it(given: str, kept: str) -> None:
    assert ListenConfig(root_path=given).root_path == kept


@pytest.mark.parametrize("path", ["/", "/mcp", "/a/b/", "/a%20b", "/~x.y_z-1"])
def test_a_path_starts_with_one_slash(path: str) -> None:
    assert is_url_path(path)


@pytest.mark.parametrize("path", ["", "mcp", "//mcp", "/a b", "/a?b", "/a#b", "/a\nb", "/a\x7f", "/\u00e9"])
def test_nothing_else_is_a_path(path: str) -> None:
    assert not is_url_path(path)


@pytest.mark.parametrize(
    "auth",
    [
        AuthConfig(api_keys=("k",)),
        AuthConfig(api_key_file=PEM),
        AuthConfig(server_url="http://a"),
        AuthConfig(user_id="u"),
        oauth(),
        oauth(oauth_issuer="http://localhost:1", oauth_jwks_url="http://[::1]/keys"),
    ],
)
def test_with_any_way_in_configured_the_door_is_not_open(auth: AuthConfig) -> None:
    assert AuthConfig().is_open
    assert not auth.is_open


def test_a_configuration_does_not_show_its_secrets() -> None:
    assert "s3cret" not in repr(AuthConfig(api_keys=("s3cret",), server_url="http://h/?key=s3cret"))


def test_debug_implies_the_level_debug() -> None:
    assert LogConfig(debug=True, level="error") == LogConfig(debug=True, level="debug")


def test_an_environment_changed_later_does_not_change_the_configuration() -> None:
    environment = {"A": "1"}
    config = Config(ChildConfig(("x",), environment=environment))
    environment["B"] = "2"
    assert config.child is not None
    assert config.child.environment == {"A": "1"}
