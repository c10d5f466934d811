"""Every option: both spellings, its variable, its default, and what is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from trioproxy.bridge import BridgeConfig
from trioproxy.cli import DEMO, read_command_line
from trioproxy.config import (
    KIB,
    MIB,
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
)
from trioproxy.options import GROUPS, OPTIONS, SPELLINGS, VARIABLES, render_help, render_markdown
from trioproxy.protocol.cors import ALLOWED_HEADERS, EXPOSED_HEADERS
from trioproxy.remote.settings import RemoteConfig, SignInConfig
from trioproxy.server_file import ServerFile
from trioproxy.tunnel import TunnelConfig

CHILD = ChildConfig(("server",))
PEM = Path("x.pem")


def read(*argv: str, **environ: str) -> Config:
    config = read_command_line(argv, environ)
    assert isinstance(config, Config)
    return config


def read_child(*argv: str, **environ: str) -> ChildConfig:
    child = read(*argv, **environ).child
    assert child is not None
    return child


def refusal(*argv: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_command_line(argv, environ)
    return str(caught.value)


@dataclass
class Case:
    """`kebab value`, and its other spellings, make `config`; `others` are options that must be there too."""

    kebab: str
    camel: str
    variable: str
    value: str
    config: Config
    others: tuple[str, ...] = ()


def child(**fields: object) -> Config:
    return Config(ChildConfig(("server",), **fields))  # type: ignore[arg-type]


TLS = ("--ssl-cert=x.pem", "--ssl-key=x.pem")
OPEN_TUNNEL = ("--tunnel", "--tunnel-open")

VALUES = [
    Case("--host", "--host", "MCP_PROXY_HOST", "0.0.0.0", Config(CHILD, listen=ListenConfig(host="0.0.0.0"))),
    Case("--port", "--port", "MCP_PROXY_PORT", "9000", Config(CHILD, listen=ListenConfig(port=9000))),
    Case("--port", "--port", "MCP_PROXY_PORT", "0", Config(CHILD, listen=ListenConfig(port=0))),
    Case("--uds", "--uds", "MCP_PROXY_UDS", "/run/x", Config(CHILD, listen=ListenConfig(uds=Path("/run/x")))),
    Case("--root-path", "--rootPath", "MCP_PROXY_ROOT_PATH", "/up/", Config(CHILD, listen=ListenConfig(root_path="/up"))),
    Case(
        "--ssl-cert",
        "--sslCert",
        "MCP_PROXY_SSL_CERT",
        "x.pem",
        Config(CHILD, listen=ListenConfig(ssl_cert=PEM, ssl_key=PEM)),
        ("--ssl-key=x.pem",),
    ),
    Case(
        "--ssl-key",
        "--sslKey",
        "MCP_PROXY_SSL_KEY",
        "x.pem",
        Config(CHILD, listen=ListenConfig(ssl_cert=PEM, ssl_key=PEM)),
        ("--ssl-cert=x.pem",),
    ),
    Case(
        "--ssl-ca",
        "--sslCa",
        "MCP_PROXY_SSL_CA",
        "x.pem",
        Config(CHILD, listen=ListenConfig(ssl_cert=PEM, ssl_key=PEM, ssl_ca=PEM)),
        TLS,
    ),
    Case(
        "--trusted-proxy",
        "--trustedProxy",
        "MCP_PROXY_TRUSTED_PROXY",
        "10.0.0.0/8",
        Config(CHILD, listen=ListenConfig(trusted_proxies=(IPv4Network("10.0.0.0/8"),))),
    ),
    Case(
        "--trusted-proxy",
        "--trustedProxy",
        "MCP_PROXY_TRUSTED_PROXY",
        "::1",
        Config(CHILD, listen=ListenConfig(trusted_proxies=(IPv6Network("::1/128"),))),
    ),
    Case(
        "--allowed-host",
        "--allowedHost",
        "MCP_PROXY_ALLOWED_HOST",
        "mcp.example.com",
        Config(CHILD, listen=ListenConfig(allowed_hosts=("mcp.example.com",))),
    ),
    Case("--server", "--server", "MCP_PROXY_SERVER", "sse", Config(CHILD, endpoints=EndpointConfig(frozenset({"sse"})))),
    Case("--server", "--server", "MCP_PROXY_SERVER", "both", Config(CHILD)),
    Case(
        "--endpoint",
        "--endpoint",
        "MCP_PROXY_ENDPOINT",
        "/here",
        Config(CHILD, endpoints=EndpointConfig(frozenset({"stream"}), stream_endpoint="/here")),
        ("--server=stream",),
    ),
    Case(
        "--endpoint",
        "--endpoint",
        "MCP_PROXY_ENDPOINT",
        "/mcp",
        Config(CHILD, endpoints=EndpointConfig(frozenset({"sse"}), sse_endpoint="/mcp")),
        ("--server=sse",),
    ),
    Case(
        "--sse-endpoint",
        "--sseEndpoint",
        "MCP_PROXY_SSE_ENDPOINT",
        "/events",
        Config(CHILD, endpoints=EndpointConfig(sse_endpoint="/events")),
    ),
    Case(
        "--stream-endpoint",
        "--streamEndpoint",
        "MCP_PROXY_STREAM_ENDPOINT",
        "/s",
        Config(CHILD, endpoints=EndpointConfig(stream_endpoint="/s")),
    ),
    Case(
        "--message-endpoint",
        "--messageEndpoint",
        "MCP_PROXY_MESSAGE_ENDPOINT",
        "/m",
        Config(CHILD, endpoints=EndpointConfig(message_endpoint="/m")),
    ),
    Case(
        "--health-endpoint",
        "--healthEndpoint",
        "MCP_PROXY_HEALTH_ENDPOINT",
        "/up",
        Config(CHILD, endpoints=EndpointConfig(health_endpoint="/up")),
    ),
    Case("--cwd", "--cwd", "MCP_PROXY_CWD", "/tmp", child(cwd=Path("/tmp"))),
    Case("--env", "--env", "MCP_PROXY_ENV", "NO_PROXY=a,b=c", child(environment={"NO_PROXY": "a,b=c"})),
    Case("--env", "--env", "MCP_PROXY_ENV", "EMPTY=", child(environment={"EMPTY": ""})),
    Case(
        "--upstream-protocol",
        "--upstreamProtocol",
        "MCP_PROXY_UPSTREAM_PROTOCOL",
        "modern",
        Config(CHILD, upstream_protocol="modern"),
    ),
    Case("--isolation", "--isolation", "MCP_PROXY_ISOLATION", "session", Config(CHILD)),
    Case("--isolation", "--isolation", "MCP_PROXY_ISOLATION", "shared", Config(CHILD, isolation="shared")),
    Case(
        "--isolation",
        "--isolation",
        "MCP_PROXY_ISOLATION",
        "principal",
        Config(CHILD, isolation="principal", auth=AuthConfig(api_keys=("k",))),
        ("--api-key=k",),
    ),
    Case(
        "--config",
        "--config",
        "MCP_PROXY_CONFIG",
        "mcp.json",
        Config(
            CHILD, server_file=ServerFile(Path("mcp.json"), ChildConfig(("command",)), RemoteConfig("http://localhost/"))
        ),
    ),
    Case(
        "--tunnel-subdomain",
        "--tunnelSubdomain",
        "MCP_PROXY_TUNNEL_SUBDOMAIN",
        "my-server",
        Config(CHILD, tunnel=TunnelConfig(subdomain="my-server", is_open_to_all=True)),
        OPEN_TUNNEL,
    ),
    Case(
        "--tunnel-host",
        "--tunnelHost",
        "MCP_PROXY_TUNNEL_HOST",
        "https://tunnel.example",
        Config(CHILD, tunnel=TunnelConfig("https://tunnel.example", is_open_to_all=True)),
        OPEN_TUNNEL,
    ),
    Case("--tap", "--tap", "MCP_PROXY_TAP", "/tmp/tap.jsonl", Config(CHILD, tap=Path("/tmp/tap.jsonl"))),
    Case("--spares", "--spares", "MCP_PROXY_SPARES", "0", child(spares=0)),
    Case("--max-message-size", "--maxMessageSize", "MCP_PROXY_MAX_MESSAGE_SIZE", "1M", child(max_message_size=MIB)),
    Case("--max-message-size", "--maxMessageSize", "MCP_PROXY_MAX_MESSAGE_SIZE", "0", child(max_message_size=None)),
    Case(
        "--connection-timeout",
        "--connectionTimeout",
        "MCP_PROXY_CONNECTION_TIMEOUT",
        "1500",
        Config(CHILD, times=TimeConfig(connection_timeout=1.5)),
    ),
    Case(
        "--request-timeout",
        "--requestTimeout",
        "MCP_PROXY_REQUEST_TIMEOUT",
        "0",
        Config(CHILD, times=TimeConfig(request_timeout=None)),
    ),
    Case(
        "--session-idle-timeout",
        "--sessionIdleTimeout",
        "MCP_PROXY_SESSION_IDLE_TIMEOUT",
        "1h",
        Config(CHILD, times=TimeConfig(session_idle_timeout=3600)),
    ),
    Case(
        "--keep-alive-timeout",
        "--keepAliveTimeout",
        "MCP_PROXY_KEEP_ALIVE_TIMEOUT",
        "250ms",
        Config(CHILD, times=TimeConfig(keep_alive_timeout=0.25)),
    ),
    Case(
        "--graceful-shutdown-timeout",
        "--gracefulShutdownTimeout",
        "MCP_PROXY_GRACEFUL_SHUTDOWN_TIMEOUT",
        "0",
        Config(CHILD, times=TimeConfig(graceful_shutdown_timeout=0)),
    ),
    Case(
        "--max-body-size",
        "--maxBodySize",
        "MCP_PROXY_MAX_BODY_SIZE",
        "64k",
        Config(CHILD, limits=LimitConfig(max_body_size=64 * KIB)),
    ),
    Case(
        "--max-sessions",
        "--maxSessions",
        "MCP_PROXY_MAX_SESSIONS",
        "3",
        Config(CHILD, limits=LimitConfig(max_sessions=3)),
    ),
    Case(
        "--max-connections",
        "--maxConnections",
        "MCP_PROXY_MAX_CONNECTIONS",
        "0",
        Config(CHILD, limits=LimitConfig(max_connections=None)),
    ),
    Case(
        "--event-store-max-events",
        "--eventStoreMaxEvents",
        "MCP_PROXY_EVENT_STORE_MAX_EVENTS",
        "5",
        Config(CHILD, limits=LimitConfig(event_store_max_events=5)),
    ),
    Case(
        "--event-store-max-bytes",
        "--eventStoreMaxBytes",
        "MCP_PROXY_EVENT_STORE_MAX_BYTES",
        "1G",
        Config(CHILD, limits=LimitConfig(event_store_max_bytes=1024 * MIB)),
    ),
    Case("--api-key", "--apiKey", "MCP_PROXY_API_KEY", "k!y", Config(CHILD, auth=AuthConfig(api_keys=("k!y",)))),
    Case(
        "--api-key-file",
        "--apiKeyFile",
        "MCP_PROXY_API_KEY_FILE",
        "/run/keys",
        Config(CHILD, auth=AuthConfig(api_key_file=Path("/run/keys"))),
    ),
    Case(
        "--api-key-header-name",
        "--apiKeyHeaderName",
        "MCP_PROXY_API_KEY_HEADER_NAME",
        "X-Secret",
        Config(CHILD, auth=AuthConfig(api_key_header_name="X-Secret")),
    ),
    Case(
        "--auth-server-url",
        "--authServerUrl",
        "MCP_PROXY_AUTH_SERVER_URL",
        "http://auth/check?a=b",
        Config(CHILD, auth=AuthConfig(server_url="http://auth/check?a=b")),
    ),
    Case(
        "--auth-server-url",
        "--authServerUrl",
        "AUTH_SERVER_URL",
        "https://auth/",
        Config(CHILD, auth=AuthConfig(server_url="https://auth/")),
    ),
    Case("--auth-cache", "--authCache", "MCP_PROXY_AUTH_CACHE", "0", Config(CHILD, auth=AuthConfig(cache_time=0.0))),
    Case("--user-id", "--userId", "MCP_PROXY_USER_ID", "alice", Config(CHILD, auth=AuthConfig(user_id="alice"))),
    Case(
        "--oauth-issuer",
        "--oauthIssuer",
        "MCP_PROXY_OAUTH_ISSUER",
        "https://issuer",
        Config(CHILD, auth=AuthConfig(oauth_issuer="https://issuer", oauth_audiences=("a",))),
        ("--oauth-audience=a",),
    ),
    Case(
        "--oauth-audience",
        "--oauthAudience",
        "MCP_PROXY_OAUTH_AUDIENCE",
        "https://mcp.example.com/mcp",
        Config(CHILD, auth=AuthConfig(oauth_issuer="https://issuer", oauth_audiences=("https://mcp.example.com/mcp",))),
        ("--oauth-issuer=https://issuer",),
    ),
    Case(
        "--oauth-scope",
        "--oauthScope",
        "MCP_PROXY_OAUTH_SCOPE",
        "files:read",
        Config(CHILD, auth=AuthConfig(oauth_issuer="https://i", oauth_audiences=("a",), oauth_scopes=("files:read",))),
        ("--oauth-issuer=https://i", "--oauth-audience=a"),
    ),
    Case(
        "--oauth-jwks-url",
        "--oauthJwksUrl",
        "MCP_PROXY_OAUTH_JWKS_URL",
        "http://127.0.0.1:1/keys",
        Config(
            CHILD,
            auth=AuthConfig(oauth_issuer="https://i", oauth_audiences=("a",), oauth_jwks_url="http://127.0.0.1:1/keys"),
        ),
        ("--oauth-issuer=https://i", "--oauth-audience=a"),
    ),
    Case(
        "--oauth-realm",
        "--oauthRealm",
        "MCP_PROXY_OAUTH_REALM",
        "my server",
        Config(CHILD, auth=AuthConfig(oauth_realm="my server")),
    ),
    Case(
        "--cors-origin",
        "--corsOrigin",
        "MCP_PROXY_CORS_ORIGIN",
        "https://app.example",
        Config(CHILD, cors=CorsOptions(origin=("https://app.example",))),
    ),
    Case("--cors-origin", "--corsOrigin", "MCP_PROXY_CORS_ORIGIN", "*", Config(CHILD, cors=CorsOptions(origin="*"))),
    Case(
        "--cors-add-allowed-header",
        "--corsAddAllowedHeader",
        "MCP_PROXY_CORS_ADD_ALLOWED_HEADER",
        "X-Tenant",
        Config(CHILD, cors=CorsOptions(allowed_headers=(*ALLOWED_HEADERS, "X-Tenant"))),
    ),
    Case(
        "--cors-expose-header",
        "--corsExposeHeader",
        "MCP_PROXY_CORS_EXPOSE_HEADER",
        "X-Trace",
        Config(CHILD, cors=CorsOptions(exposed_headers=(*EXPOSED_HEADERS, "X-Trace"))),
    ),
    Case("--log-level", "--logLevel", "MCP_PROXY_LOG_LEVEL", "WARNING", Config(CHILD, log=LogConfig(level="warning"))),
    Case("--log-format", "--logFormat", "MCP_PROXY_LOG_FORMAT", "json", Config(CHILD, log=LogConfig(format="json"))),
]


@pytest.mark.parametrize("case", VALUES, ids=lambda case: f"{case.kebab}={case.value}")
def test_an_option_with_a_value_says_the_same_in_each_of_its_spellings(case: Case) -> None:
    assert read(*case.others, case.kebab, case.value, "server") == case.config
    assert read(*case.others, f"{case.kebab}={case.value}", "server") == case.config
    assert read(*case.others, case.camel, case.value, "server") == case.config
    assert read(*case.others, f"{case.camel}={case.value}", "server") == case.config
    assert read(*case.others, "server", **{case.variable: case.value}) == case.config


@dataclass
class Switch:
    """All of `spellings` make `config`, and so does the variable."""

    spellings: tuple[str, ...]
    variable: str
    value: str
    config: Config
    others: tuple[str, ...] = ()


SWITCHES = [
    Switch(
        ("--ssl-verify-client", "--sslVerifyClient"),
        "MCP_PROXY_SSL_VERIFY_CLIENT",
        "1",
        Config(CHILD, listen=ListenConfig(ssl_cert=PEM, ssl_key=PEM, ssl_ca=PEM, ssl_verify_client=True)),
        (*TLS, "--ssl-ca=x.pem"),
    ),
    Switch(("--stateless", "--stateless=yes"), "MCP_PROXY_STATELESS", "yes", Config(CHILD, stateless=True)),
    Switch(("--json-response", "--jsonResponse"), "MCP_PROXY_JSON_RESPONSE", "on", Config(CHILD, json_response=True)),
    Switch(("--no-modern", "--noModern", "--modern=off"), "MCP_PROXY_NO_MODERN", "1", Config(CHILD, modern=False)),
    Switch(("--modern",), "MCP_PROXY_MODERN", "yes", Config(CHILD)),
    Switch(("--shell",), "MCP_PROXY_SHELL", "true", child(shell=True)),
    Switch(
        ("--no-pass-environment", "--noPassEnvironment", "--no-passEnvironment", "--pass-environment=false"),
        "MCP_PROXY_PASS_ENVIRONMENT",
        "0",
        child(pass_environment=False),
    ),
    Switch(("--pass-environment", "--passEnvironment"), "MCP_PROXY_PASS_ENVIRONMENT", "1", Config(CHILD)),
    Switch(
        ("--no-event-store", "--noEventStore", "--no-eventStore"),
        "MCP_PROXY_NO_EVENT_STORE",
        "TRUE",
        Config(CHILD, limits=LimitConfig(event_store=False)),
    ),
    Switch(
        ("--event-store=no", "--eventStore=off"),
        "MCP_PROXY_EVENT_STORE",
        "no",
        Config(CHILD, limits=LimitConfig(event_store=False)),
    ),
    Switch(("--event-store", "--eventStore"), "MCP_PROXY_NO_EVENT_STORE", "off", Config(CHILD)),
    Switch(("--debug",), "MCP_PROXY_DEBUG", "true", Config(CHILD, log=LogConfig(debug=True, level="debug"))),
    Switch(
        ("--api-key-in-query", "--apiKeyInQuery"),
        "MCP_PROXY_API_KEY_IN_QUERY",
        "1",
        Config(CHILD, auth=AuthConfig(api_keys=("key",), api_key_in_query=True)),
        ("--api-key=key",),
    ),
    Switch(("--no-cors", "--noCors", "--cors=off"), "MCP_PROXY_NO_CORS", "1", Config(CHILD, cors=None)),
    Switch(
        ("--no-metrics", "--noMetrics"), "MCP_PROXY_METRICS", "0", Config(CHILD, endpoints=EndpointConfig(metrics=False))
    ),
    Switch(
        ("--metrics-auth", "--metricsAuth"),
        "MCP_PROXY_METRICS_AUTH",
        "1",
        Config(CHILD, endpoints=EndpointConfig(metrics_auth=True), auth=AuthConfig(api_keys=("key",))),
        ("--api-key=key",),
    ),
    Switch(
        ("--exit-on-child-death", "--exitOnChildDeath"),
        "MCP_PROXY_EXIT_ON_CHILD_DEATH",
        "yes",
        Config(CHILD, exit_on_child_death=True),
    ),
    Switch(("--no-demo", "--demo=0"), "MCP_PROXY_DEMO", "false", Config(CHILD)),
    Switch(("--no-stdio", "--stdio=off"), "MCP_PROXY_STDIO", "no", Config(CHILD)),
    Switch(
        ("--tunnel",),
        "MCP_PROXY_TUNNEL",
        "1",
        Config(CHILD, tunnel=TunnelConfig(), auth=AuthConfig(api_keys=("key",))),
        ("--api-key=key",),
    ),
    Switch(
        ("--tunnel-open", "--tunnelOpen"),
        "MCP_PROXY_TUNNEL_OPEN",
        "1",
        Config(CHILD, tunnel=TunnelConfig(is_open_to_all=True)),
        ("--tunnel",),
    ),
]


@pytest.mark.parametrize("case", SWITCHES, ids=lambda case: f"{case.variable}={case.value}")
def test_a_switch_says_the_same_in_each_of_its_spellings(case: Switch) -> None:
    for spelling in case.spellings:
        assert read(*case.others, spelling, "server") == case.config
    assert read(*case.others, "server", **{case.variable: case.value}) == case.config


URL = "https://example.com/mcp"


@dataclass
class RemoteCase:
    """Before a URL all of `spellings` make `remote`, and so does the variable."""

    spellings: tuple[tuple[str, ...], ...]
    variable: str
    value: str
    remote: RemoteConfig
    others: tuple[str, ...] = ()


def either(kebab: str, camel: str, value: str) -> tuple[tuple[str, ...], ...]:
    return (kebab, value), (f"{kebab}={value}",), (camel, value), (f"{camel}={value}",)


def signing_in(**fields: Any) -> RemoteConfig:
    return RemoteConfig(URL, sign_in=SignInConfig(**fields))


REMOTES = [
    RemoteCase(
        either("--transport", "--transport", "sse-only"),
        "MCP_PROXY_TRANSPORT",
        "sse-only",
        RemoteConfig(URL, transport="sse-only"),
    ),
    RemoteCase(
        either("--header", "--header", "X-A: b, c"),
        "MCP_PROXY_HEADER",
        "X-A: b, c",
        RemoteConfig(URL, headers=(("X-A", "b, c"),)),
    ),
    RemoteCase(
        either("--protocol", "--protocol", "legacy"), "MCP_PROXY_PROTOCOL", "legacy", RemoteConfig(URL, protocol="legacy")
    ),
    RemoteCase((("--oauth",), ("--oauth=on",)), "MCP_PROXY_OAUTH", "1", signing_in(browser=True)),
    RemoteCase((("--no-oauth",), ("--noOauth",)), "MCP_PROXY_NO_OAUTH", "1", RemoteConfig(URL)),
    RemoteCase(either("--client-id", "--clientId", "me"), "MCP_PROXY_CLIENT_ID", "me", signing_in(client_id="me")),
    RemoteCase(
        either("--client-secret", "--clientSecret", "s"),
        "MCP_PROXY_CLIENT_SECRET",
        "s",
        signing_in(client_id="me", client_secret="s"),
        ("--client-id=me",),
    ),
    RemoteCase(
        either("--token-url", "--tokenUrl", "https://auth.example/token"),
        "MCP_PROXY_TOKEN_URL",
        "https://auth.example/token",
        signing_in(client_id="me", token_url="https://auth.example/token"),
        ("--client-id=me",),
    ),
    RemoteCase(
        either("--client-issuer", "--clientIssuer", "https://auth.example"),
        "MCP_PROXY_CLIENT_ISSUER",
        "https://auth.example",
        signing_in(client_id="me", issuer="https://auth.example"),
        ("--client-id=me",),
    ),
    RemoteCase(
        either("--client-metadata-url", "--clientMetadataUrl", "https://me.example/client.json"),
        "MCP_PROXY_CLIENT_METADATA_URL",
        "https://me.example/client.json",
        signing_in(browser=True, client_metadata_url="https://me.example/client.json"),
        ("--oauth",),
    ),
    RemoteCase(
        either("--client-scope", "--clientScope", "files:read"),
        "MCP_PROXY_CLIENT_SCOPE",
        "files:read",
        signing_in(browser=True, scopes=("files:read",)),
        ("--oauth",),
    ),
    RemoteCase(
        either("--redirect-port", "--redirectPort", "7777"),
        "MCP_PROXY_REDIRECT_PORT",
        "7777",
        signing_in(browser=True, redirect_port=7777),
        ("--oauth",),
    ),
    RemoteCase(
        either("--token-file", "--tokenFile", "/var/lib/me/tokens"),
        "MCP_PROXY_TOKEN_FILE",
        "/var/lib/me/tokens",
        signing_in(client_id="me", client_secret="s", token_file=Path("/var/lib/me/tokens")),
        ("--client-id=me", "--client-secret=s"),
    ),
    RemoteCase(
        (("--no-verify",), ("--noVerify",), ("--verify=off",)), "MCP_PROXY_VERIFY", "no", RemoteConfig(URL, verify=False)
    ),
    RemoteCase(either("--api-key", "--apiKey", "k"), "MCP_PROXY_API_KEY", "k", RemoteConfig(URL, api_key="k")),
    RemoteCase(
        either("--api-key-header-name", "--apiKeyHeaderName", "x-k"),
        "MCP_PROXY_API_KEY_HEADER_NAME",
        "x-k",
        RemoteConfig(URL, api_key_header_name="x-k"),
    ),
    RemoteCase(either("--user-id", "--userId", "u"), "MCP_PROXY_USER_ID", "u", RemoteConfig(URL, user_id="u")),
    RemoteCase(
        either("--connection-timeout", "--connectionTimeout", "1s"),
        "MCP_PROXY_CONNECTION_TIMEOUT",
        "1s",
        RemoteConfig(URL, connection_timeout=1.0),
    ),
    RemoteCase(
        either("--request-timeout", "--requestTimeout", "0"),
        "MCP_PROXY_REQUEST_TIMEOUT",
        "0",
        RemoteConfig(URL, request_timeout=None),
    ),
    RemoteCase(
        either("--max-message-size", "--maxMessageSize", "1M"),
        "MCP_PROXY_MAX_MESSAGE_SIZE",
        "1M",
        RemoteConfig(URL, max_message_size=MIB),
    ),
]


def read_bridge(*argv: str, **environ: str) -> BridgeConfig:
    config = read_command_line(argv, environ)
    assert isinstance(config, BridgeConfig)
    return config


@pytest.mark.parametrize("case", REMOTES, ids=lambda case: f"{case.variable}={case.value}")
def test_an_option_for_a_url_says_the_same_in_each_of_its_spellings(case: RemoteCase) -> None:
    expected = BridgeConfig({"example.com": case.remote})
    for words in case.spellings:
        assert read_bridge(*case.others, *words, URL) == expected
    assert read_bridge(*case.others, URL, **{case.variable: case.value}) == expected


def test_these_tests_know_every_spelling_of_every_option() -> None:
    known = {spelling for case in VALUES for spelling in (case.kebab, case.camel)}
    known |= {spelling.partition("=")[0] for case in SWITCHES for spelling in case.spellings}
    known |= {words[0].partition("=")[0] for case in REMOTES for words in case.spellings}
    known |= {
        "--demo",
        "--help",
        "-h",
        "--version",
        "--named-server",
        "--namedServer",
        "--header-file",
        "--headerFile",
        "--ca-file",
        "--caFile",
    }
    options = {option.name for option in OPTIONS.values()}
    assert {SPELLINGS[spelling][0].name for spelling in known} == options
    variables = {case.variable for case in VALUES} | {case.variable for case in SWITCHES}
    variables |= {case.variable for case in REMOTES} | {
        "MCP_PROXY_NAMED_SERVER",
        "MCP_PROXY_HEADER_FILE",
        "MCP_PROXY_CA_FILE",
    }
    assert {VARIABLES[variable][0].name for variable in variables} == options - {"help", "version"}


def test_the_defaults_in_the_table_are_those_of_the_library() -> None:
    assert read("server") == Config(CHILD)


# Precedence


def test_the_command_line_beats_the_environment_which_beats_the_default() -> None:
    assert read("server").listen.port == 8080
    assert read("server", MCP_PROXY_PORT="1").listen.port == 1
    assert read("--port", "2", "server", MCP_PROXY_PORT="1").listen.port == 2
    assert not read("--no-debug", "server", MCP_PROXY_DEBUG="1").log.debug


def test_a_broken_variable_does_no_harm_where_the_command_line_overrides_it() -> None:
    """Kubernetes sets MCP_PROXY_PORT to a URL beside a service called mcp-proxy."""
    link = "tcp://10.0.0.1:8080"
    assert refusal("server", MCP_PROXY_PORT=link) == f"MCP_PROXY_PORT '{link}': expected a number from 0 to 65535"
    assert read("--port=8080", "server", MCP_PROXY_PORT=link) == Config(CHILD)


def test_an_empty_variable_counts_as_unset_and_a_strange_one_is_none_of_ours() -> None:
    assert read("server", MCP_PROXY_PORT="", MCP_PROXY_SERVICE_HOST="10.0.0.1", MCP_PROXY_HELP="1") == Config(CHILD)


def test_the_last_of_several_values_counts_where_there_can_be_one() -> None:
    assert read("--port=1", "--port=2", "server").listen.port == 2


def test_a_repeatable_option_collects_and_its_variable_separates_by_commas() -> None:
    hosts = ("a.example", "b.example")
    assert read("--allowed-host", "a.example", "--allowedHost=b.example", "server").listen.allowed_hosts == hosts
    assert read("server", MCP_PROXY_ALLOWED_HOST="a.example, b.example,").listen.allowed_hosts == hosts


def test_the_command_line_replaces_the_whole_list_that_a_variable_gave() -> None:
    assert read("--allowed-host=c", "server", MCP_PROXY_ALLOWED_HOST="a,b").listen.allowed_hosts == ("c",)


def test_the_variable_for_env_holds_one_assignment_a_line_since_commas_are_common_in_values() -> None:
    environment = read_child("server", MCP_PROXY_ENV="NO_PROXY=a,b\nKEY=x=y\n").environment
    assert environment == {"NO_PROXY": "a,b", "KEY": "x=y"}
    assert read_child("--env", "A=1", "--env=B=2", "--env=A=3", "server").environment == {"A": "3", "B": "2"}


def test_several_keys_are_good_at_once_so_that_they_can_be_rotated() -> None:
    assert read("--api-key", "old", "--apiKey=new", "server").auth.api_keys == ("old", "new")
    assert read("server", MCP_PROXY_API_KEY="old, new,").auth.api_keys == ("old", "new")


def test_of_the_two_variables_for_the_authentication_server_ours_counts() -> None:
    both = {"AUTH_SERVER_URL": "https://theirs", "MCP_PROXY_AUTH_SERVER_URL": "https://ours"}
    assert read("server", **both).auth.server_url == "https://ours"
    assert read("--auth-server-url=https://typed", "server", **both).auth.server_url == "https://typed"


# Where options end


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("node", "s.js", "--port", "3000"), ("node", "s.js", "--port", "3000")),
        (("--", "node", "--", "x"), ("node", "--", "x")),
        (("--", "--help"), ("--help",)),
        (("--debug", "node", "--help"), ("node", "--help")),
        (("--no-debug", "-"), ("-",)),
        (("server", "", " a b ", "--nonsense"), ("server", "", " a b ", "--nonsense")),
        (("npx", "mcp-remote", "https://example.com/mcp"), ("npx", "mcp-remote", "https://example.com/mcp")),
        (("--", "curl", "HTTP://localhost"), ("curl", "HTTP://localhost")),
    ],
)
def test_what_follows_the_first_word_belongs_to_the_command(words: tuple[str, ...], command: tuple[str, ...]) -> None:
    assert read_child(*words).argv == command


def test_a_shell_gets_the_words_as_one_line() -> None:
    assert read("--shell", "echo $HOME |", "cat").child == ChildConfig(("echo $HOME | cat",), shell=True)


def test_the_demo_takes_the_place_of_the_command() -> None:
    assert read("--demo", "--port=1").child == ChildConfig(DEMO)
    assert read(MCP_PROXY_DEMO="1").child == ChildConfig(DEMO)


# Mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prot", "1", "x"], "--prot: no such option; did you mean --port?"),
        (["--sse_endpoint=/x", "x"], "--sse_endpoint: no such option; did you mean --sse-endpoint?"),
        (["--qqqqqq", "x"], "--qqqqqq: no such option; --help lists them all"),
        (["-p", "80", "x"], "-p: no such option"),
        (["--no-port", "x"], "--no-port: no such option"),
        (["--port"], "--port: expected a number from 0 to 65535; nothing came instead of a value"),
        (["--port", "--debug", "x"], "--port: expected a number from 0 to 65535; '--debug' came instead of a value"),
        (["--port", "http", "x"], "--port 'http': expected a number from 0 to 65535"),
        (["--port", "65536", "x"], "--port '65536': expected a number from 0 to 65535"),
        (["--port", "-1", "x"], "--port '-1': expected a number from 0 to 65535"),
        (["--port=", "x"], "--port '': expected a number"),
        (["--port=٣", "x"], "--port '٣': expected a number"),
        (["--host=", "x"], "--host '': expected an address or a host name"),
        (["--uds=", "x"], "--uds '': expected the path"),
        (["--sseEndpoint=sse", "x"], "--sseEndpoint 'sse': expected a path that starts with /"),
        (["--root-path=//evil", "x"], "--root-path '//evil': expected a path that starts with /"),
        (["--trusted-proxy=10.0.0.1/8", "x"], "--trusted-proxy '10.0.0.1/8': expected an address, or a network"),
        (["--trusted-proxy=*", "x"], "--trusted-proxy '*': expected an address, or a network"),
        (["--allowed-host=https://a", "x"], "--allowed-host 'https://a': expected a host name"),
        (["--allowed-host=*", "x"], "--allowed-host '*': expected a host name"),
        (["--auth-cache=soon", "x"], "--auth-cache 'soon': expected milliseconds"),
        (["--api-key-header-name=a b", "x"], "--api-key-header-name 'a b': expected the name of a header"),
        (["--api-key-in-query", "x"], "--api-key-in-query says where a key may be, and there is none"),
        (["--user-id=", "x"], "--user-id '': expected the id of a user"),
        (["--oauth-issuer=http://a", "x"], "--oauth-issuer 'http://a': expected an https URL; http on this machine only"),
        (["--oauth-issuer=https://a", "x"], "--oauth-issuer needs --oauth-audience"),
        (["--oauth-scope=a", "x"], "--oauth-audience, --oauth-scope and --oauth-jwks-url need --oauth-issuer"),
        (["--oauth-scope=a b", "x"], "--oauth-scope 'a b': expected visible ASCII characters without spaces and quotes"),
        (["--oauth-jwks-url=ftp://a", "x"], "--oauth-jwks-url 'ftp://a': expected an https URL"),
        (
            ["--cors-origin=app.example", "x"],
            "--cors-origin 'app.example': expected *, an origin such as https://app.example",
        ),
        (["--cors-origin=https://app.example/", "x"], "--cors-origin 'https://app.example/': expected *, an origin"),
        (["--cors-origin=null", "x"], "--cors-origin 'null': expected *, an origin"),
        (["--cors-origin=regex:(", "x"], "--cors-origin 'regex:(': expected *, an origin"),
        (["--cors-expose-header=a b", "x"], "--cors-expose-header 'a b': expected the name of a header"),
        (["--no-cors", "--cors-origin=*", "x"], "--no-cors and --cors-origin, or what goes with it, contradict each other"),
        (["--metrics-auth", "x"], "--metrics-auth needs a way to come in, such as --api-key"),
        (["--no-metrics", "--metrics-auth", "x"], "--metrics-auth and --no-metrics contradict each other"),
        (["--sse-endpoint=/metrics", "x"], "--sse-endpoint /metrics: that path is taken by the metrics, which --no-metrics"),
        (["--server=http", "x"], "--server 'http': expected sse, stream or both"),
        (["--env=PATH", "x"], "--env 'PATH': expected NAME=VALUE"),
        (["--env==x", "x"], "--env '=x': expected NAME=VALUE"),
        (["--isolation=mine", "x"], "--isolation 'mine': expected session or principal or shared"),
        (["--isolation=principal", "x"], "--isolation principal needs a way to come in, such as --api-key"),
        (["--isolation=shared", "--stateless", "x"], "--stateless and --isolation shared contradict each other"),
        (
            ["--named-server", "a"],
            "--named-server a: expected a name that can be part of a path, and a command; only the first",
        ),
        (
            ["--named-server=a"],
            "--named-server a: expected a name that can be part of a path, and a command; only the first",
        ),
        (
            ["--named-server", "a b", "cat"],
            "--named-server a b: expected a name that can be part of a path, and a command; the",
        ),
        (["--named-server", "a/b", "cat"], "--named-server 'a/b cat': expected a name that can be part of a path"),
        (["--named-server", "a", " "], "--named-server 'a  ': expected a name that can be part of a path, and a command"),
        (["--named-server", "a", "cat 'x"], '--named-server "cat \'x": No closing quotation'),
        (["--config="], "--config '': expected the path of a file"),
        (["--stdio"], "--stdio serves what --config names, and there is none"),
        (["--stdio", "--config=x", "cat"], "cat: URLs are served on stdio, and a command over HTTP: give one or the other"),
        (["--tunnel", "x"], "--tunnel lets the whole internet use the server"),
        (["--tunnel-host=https://a", "x"], "--tunnel-host: there is no tunnel without --tunnel"),
        (["--tunnelOpen", "x"], "--tunnelOpen: there is no tunnel without --tunnel"),
        (["--tunnel-subdomain=A", "x"], "--tunnel-subdomain 'A': expected 4 to 63 lower case letters, digits and hyphens"),
        (["--tunnel-host=ftp://a", "x"], "--tunnel-host: expected a URL of http or https"),
        (["--tap=", "x"], "--tap '': expected the path of a file"),
        (["--transport=http", URL], "--transport 'http': expected http-first or sse-first or http-only or sse-only"),
        (["--protocol=old", URL], "--protocol 'old': expected auto or legacy or modern"),
        (["--header=s3cret", URL], "--header: expected a header, as 'Name: value'"),
        (["--header=X: ${NONE}", URL], "--header: ${NONE} has no value in the environment"),
        (["--header-file=/no/such", URL], "--header-file /no/such: No such file or directory"),
        (["--client-secret=s3cret", URL], "--client-secret needs --client-id"),
        (["--token-url=https://a", URL], "--token-url needs --client-id"),
        (["--token-url=http://a", URL], "--token-url 'http://a': expected an https URL; http on this machine only"),
        (["--client-issuer=https://a", "--oauth", URL], "--client-issuer needs --client-id"),
        (["--client-metadata-url=http://a/b", "--oauth", URL], "--client-metadata-url 'http://a/b': expected an https URL"),
        (["--redirect-port=1", URL], "--redirect-port: nobody signs in without --oauth or --client-id"),
        (["--tokenFile=x", URL], "--tokenFile: nobody signs in without --oauth or --client-id"),
        (["--client-scope=a b", "--oauth", URL], "--client-scope 'a b': expected visible ASCII"),
        (["--client-id=", URL], "--client-id '': expected the id of a client"),
        (["--verify=maybe", URL], "--verify 'maybe': expected 1, true, yes or on"),
        (["--ca-file=/no/such", URL], "--ca-file /no/such: No such file or directory"),
        (["--ca-file=/dev/null", URL], "--ca-file /dev/null: no certificates (PEM)"),
        (["--ca-file=/", URL], "--ca-file /: Is a directory"),
        (["--api-key=a", "--apiKey=b", URL], "--apiKey: a URL is sent one key, and 2 came"),
        ([URL, "x"], "x: URLs are served on stdio, and a command over HTTP: give one or the other"),
        (["https://a:99999/"], "'https://a:99999/': expected a URL of http or https"),
        (["https://user:s3cret@a/"], "'https://a/': expected a URL of http or https"),
        (["--spares=-1", "x"], "--spares '-1': expected a number, 0 or more"),
        (["--max-body-size=10X", "x"], "--max-body-size '10X': expected bytes, or a size such as 64k, 10M or 1G; or 0"),
        (["--max-sessions=1.5", "x"], "--max-sessions '1.5': expected a number, 0 or more; or 0 for no limit"),
        (["--request-timeout=1d", "x"], "--request-timeout '1d': expected milliseconds, or a time such as 250ms, 30s"),
        (["--request-timeout=-5", "x"], "--request-timeout '-5': expected milliseconds"),
        (["--request-timeout=1e9", "x"], "--request-timeout '1e9': expected milliseconds"),
        (["--request-timeout=" + "9" * 5000, "x"], "--request-timeout '999"),
        (["--graceful-shutdown-timeout=x", "x"], "--graceful-shutdown-timeout 'x': expected milliseconds"),
        (["--log-level=loud", "x"], "--log-level 'loud': expected debug or info or warning or error"),
        (["--debug=maybe", "x"], "--debug 'maybe': expected 1, true, yes or on"),
        (["--help=x"], "--help 'x': expected no value"),
        (["--ssl-cert=a", "x"], "--ssl-cert and --ssl-key go together"),
        (["--ssl-verify-client", *TLS, "x"], "--ssl-verify-client needs --ssl-ca"),
        (["--sse-endpoint=/mcp", "x"], "--sse-endpoint /mcp: that path is taken by --stream-endpoint"),
        (["--endpoint=/x", "x"], "--endpoint is the path of one transport, and both are served"),
        (["--endpoint=/x", "--server=both", "x"], "--endpoint is the path of one transport, and both are served"),
        (["--endpoint=/x", "--server=sse", "--sse-endpoint=/y", "x"], "--endpoint and --sse-endpoint are the same path"),
        (["--demo", "x", "y z"], "--demo serves the built-in demo server, but a command came as well: x 'y z'"),
        ([], "no command"),
        (["--debug"], "no command"),
        ([""], "no command"),
        (["--shell"], "no command"),
    ],
)
def test_a_mistake_is_told_with_what_came_and_what_was_expected(words: list[str], message: str) -> None:
    assert refusal(*words).startswith(message)


# What means nothing in a form


FORMS = {
    "a command": ("server",),
    "a command and a file": ("--config=mcp.json", "server"),
    "a URL": (URL,),
    "a file on stdio": ("--stdio", "--config={file}"),
}
FOR_URLS = {option.name for option in GROUPS["remote"]}
FOR_A_TUNNEL = {"tunnel-subdomain", "tunnel-host", "tunnel-open"}
FOR_BOTH = {"connection-timeout", "request-timeout", "max-message-size", "debug", "log-level", "log-format", "tap", "config"}
FOR_COMMANDS = {"shell", "cwd", "env", "pass-environment", "max-message-size"}
TELLING_WHO_WE_ARE = {"api-key", "api-key-header-name", "user-id"}
SERVING = {option.name for option in OPTIONS.values()} - FOR_URLS - FOR_A_TUNNEL - {"help", "version"}
MEANT = {
    "a command": SERVING,
    "a command and a file": SERVING | FOR_URLS,
    "a URL": FOR_URLS | FOR_BOTH | TELLING_WHO_WE_ARE | {"stdio"},
    "a file on stdio": FOR_URLS | FOR_BOTH | FOR_COMMANDS | {"stdio"},
}


@pytest.mark.parametrize("form", FORMS)
def test_what_means_nothing_in_a_form_is_refused_on_the_command_line_and_nothing_else_is(form: str, tmp_path: Path) -> None:
    """The environment may be there for another proxy, too."""
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"a": {"command": "cat"}}}')
    words = [word.format(file=file) for word in FORMS[form]]
    sayings = {case.kebab: (case.variable, case.value) for case in VALUES}
    sayings |= {case.spellings[0]: (case.variable, case.value) for case in SWITCHES}
    sayings |= {case.spellings[0][0]: (case.variable, case.value) for case in REMOTES}
    refused = set()
    for spelling, (variable, value) in sayings.items():
        option, _ = SPELLINGS[spelling.partition("=")[0]]
        value = str(file) if option.name == "config" else value
        try:
            read_command_line([spelling, value, *words] if option.takes_value else [spelling, *words], {})
        except ConfigError as error:
            if re.match(f"{spelling}: (that is for|there is no tunnel)", str(error)):
                refused.add(option.name)
                read_command_line(words, {variable: value})
    tested_below = {"named-server", "header-file", "ca-file", "help", "version"}
    assert OPTIONS.keys() - refused - tested_below == MEANT[form] - tested_below


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("option", ["named-server", "header-file", "ca-file"])
def test_so_are_those_that_need_more_than_a_word(form: str, option: str, tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"a": {"command": "cat"}}}')
    words = [word.format(file=file) for word in FORMS[form]]
    value = {"named-server": ("a", "cat"), "header-file": ("/dev/null",), "ca-file": (certificate(tmp_path),)}[option]
    if option in MEANT[form]:
        read_command_line([f"--{option}", *value, *words], {})
    else:
        assert refusal(f"--{option}", *value, *words).startswith(f"--{option}: that is for")


def certificate(folder: Path) -> str:
    """Return a file with a certificate in it."""
    trustme = pytest.importorskip("trustme")
    trustme.CA().cert_pem.write_to_path(folder / "ca.pem")
    return str(folder / "ca.pem")


def test_who_signs_certificates_is_in_a_file_that_is_looked_into_at_once(tmp_path: Path) -> None:
    file = certificate(tmp_path)
    expected = BridgeConfig({"example.com": RemoteConfig(URL, ca_file=Path(file))})
    for spelling in ("--ca-file", "--caFile"):
        assert read_bridge(spelling, file, URL) == expected
    assert read_bridge(URL, MCP_PROXY_CA_FILE=file) == expected


def test_further_servers_have_names_and_commands() -> None:
    for spelling in ("--named-server", "--namedServer"):
        expected = Config(servers={"notes": CHILD, "search": ChildConfig(("uvx", "a b"))})
        assert read(spelling, "notes", "server", f"{spelling}=search", "uvx 'a b'") == expected
        assert read(spelling, "notes", "server", spelling, "search", "uvx 'a b'") == expected
    assert read(MCP_PROXY_NAMED_SERVER="notes server\nsearch uvx 'a b'\n") == expected
    assert read("--shell", "--named-server", "a", "echo $HOME | cat") == Config(
        servers={"a": ChildConfig(("echo $HOME | cat",), shell=True)}
    )
    assert read("--env=A=1", "--named-server", "a", "x", "server") == Config(
        ChildConfig(("server",), environment={"A": "1"}), servers={"a": ChildConfig(("x",), environment={"A": "1"})}
    )


def test_the_headers_of_a_file_come_after_those_of_the_command_line_with_what_the_environment_says(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("# mine\n\nX-B: ${env:B} and $B\n")
    for spelling in ("--header-file", "--headerFile"):
        assert read_bridge("--header=X-A: ${A}", spelling, str(file), URL, A="1", B="2") == BridgeConfig(
            {"example.com": RemoteConfig(URL, headers=(("X-A", "1"), ("X-B", "2 and $B")))}
        )
    assert read_bridge(URL, MCP_PROXY_HEADER_FILE=str(file), B="2", MCP_PROXY_HEADER="X-C: 3\nX-D: 4").servers[
        "example.com"
    ] == RemoteConfig(URL, headers=(("X-C", "3"), ("X-D", "4"), ("X-B", "2 and $B")))
    file.write_text("X-A: 1\ns3cret\n")
    assert refusal("--header-file", str(file), URL) == f"--header-file {file}, line 2: expected a header, as 'Name: value'"
    file.write_bytes(b"\xff")
    assert refusal("--header-file", str(file), URL) == f"--header-file {file}: not UTF-8"


def test_several_urls_have_names_from_their_hosts_and_are_told_who_we_are_where_those_in_a_file_are_not(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"a": {"url": "https://a/"}}}')
    bridge = read_bridge("--api-key=k", "--user-id=u", f"--config={file}", URL, "HTTPS://example.com/x")
    assert bridge == BridgeConfig(
        {
            "example.com": RemoteConfig(URL, api_key="k", user_id="u"),
            "example.com-2": RemoteConfig("HTTPS://example.com/x", api_key="k", user_id="u"),
            "a": RemoteConfig("https://a/"),
        }
    )


def test_our_callers_keys_are_not_sent_to_the_urls_of_a_file() -> None:
    config = read("--config=mcp.json", "--api-key=k", "--user-id=u", "server")
    assert config.server_file is not None
    assert (config.server_file.remote.api_key, config.server_file.remote.user_id) == (None, None)


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    assert refusal("x", MCP_PROXY_NO_EVENT_STORE="never").startswith("MCP_PROXY_NO_EVENT_STORE 'never': expected 1, true")
    assert refusal("x", MCP_PROXY_ENV="A=1\nB") == "MCP_PROXY_ENV 'B': expected NAME=VALUE"


@pytest.mark.parametrize(
    ("words", "environ", "message"),
    [
        (["--api-key=s3cret key", "x"], {}, "--api-key: expected visible ASCII characters without spaces"),
        (["--apiKey", "", "x"], {}, "--apiKey: expected visible ASCII"),
        (["--api-key", "--s3cret", "x"], {}, "--api-key: expected visible ASCII characters without spaces; an option came"),
        (["--api-key"], {}, "--api-key: expected visible ASCII characters without spaces; nothing came instead of a value"),
        (["x"], {"MCP_PROXY_API_KEY": "good,s3cret\u00e9"}, "MCP_PROXY_API_KEY: expected visible ASCII"),
        (["--auth-server-url=http://h/?k=s3cret#", "x"], {}, "--auth-server-url: expected a URL of http or https"),
        (["x"], {"AUTH_SERVER_URL": "auth?k=s3cret"}, "AUTH_SERVER_URL: expected a URL of http or https"),
    ],
)
def test_a_mistake_in_a_secret_is_told_without_it(words: list[str], environ: dict[str, str], message: str) -> None:
    told = refusal(*words, **environ)
    assert told.startswith(message)
    assert "s3cret" not in told


# What is said about the options


def test_help_names_every_option_with_its_default_in_100_columns() -> None:
    text = render_help()
    assert max(map(len, text.splitlines())) <= 100
    rows = [" ".join(row.split()) for row in re.split(r"\n +(?=--)", text)[1:]]
    assert [row.split()[0].strip(",") for row in rows] == [f"--{name}" for name in OPTIONS]
    for row, option in zip(rows, OPTIONS.values(), strict=True):
        if option.name not in ("help", "version"):
            assert f"(default: {option.default or 'none'})" in row
    assert "--no-event-store" in text


def test_help_and_version_answer_whatever_else_is_wrong_with_the_values() -> None:
    assert read_command_line(["--port", "x", "--help"], {}) == render_help()
    assert read_command_line(["-h"], {}) == render_help()
    assert read_command_line(["--version", "server"], {"MCP_PROXY_PORT": "x"}) == "trioproxy 0.1.0\n"


def test_the_readme_table_has_a_row_of_three_cells_for_every_option() -> None:
    rows = render_markdown().splitlines()
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in rows)
    for option in OPTIONS.values():
        assert any(row.startswith((f"| `--{option.name} ", f"| `--{option.name}`")) for row in rows)
