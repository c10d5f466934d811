"""The options: one table, from which everything that is said about them follows.

How they are spelled on the command line (kebab-case, and the camelCase of npm's mcp-proxy) and in the
environment, what `--help` says, what the README says, and what `cli` accepts are all read off `GROUPS`.  A new option
is a new row there, with the field of `config.Config` that it sets.  Pure; `python -m trioproxy.options` prints the
README's table.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .protocol.cors import ALLOWED_HEADERS, EXPOSED_HEADERS
from .values import (
    ASSIGNMENT,
    AUDIENCE,
    CLIENT_ID,
    DIRECTORY,
    DURATION,
    HEADER,
    HEADER_NAME,
    HOST,
    HOST_NAME,
    HTTP_URL,
    KEY,
    NAMED_COMMAND,
    NETWORK,
    NUMBER,
    ORIGIN,
    PATH,
    PORT,
    PROTECTED_URL,
    QUESTION,
    REALM,
    SCOPE,
    SECRET,
    SERVERS,
    SIZE,
    SUBDOMAIN,
    SWITCH,
    URL_PATH,
    USER,
    Kind,
    one_of,
    or_no_limit,
)


@dataclass(frozen=True)
class Option:
    """One row of the table.

    Args:
      name: kebab-case, without the dashes.
      kind: what its value is.
      help: one sentence.
      default: a word as a user would write it, read like one; None for "not given".
      sets: the field of `Config` that gets the value; empty if `cli` does something else with it.
      separator: stands between the values of a repeatable option in an environment variable; empty for an option
        that is given once, where the last word counts.
      gather: makes one value of a repeatable option's many.
      also: another environment variable that says the same.
      words: how many words its value has on the command line.
    """

    name: str
    kind: Kind
    help: str
    default: str | None = None
    sets: str = ""
    separator: str = ""
    gather: Callable[[list[Any]], Any] = tuple
    also: str = ""
    words: int = 1

    @property
    def takes_value(self) -> bool:
        return bool(self.kind.metavar)

    def spellings(self) -> Iterator[tuple[str, bool]]:
        """Yield every spelling on the command line, and whether it negates."""
        camel = _camel_case(self.name)
        yield from ((f"--{self.name}", False), (f"--{camel}", False))
        if self.name == "help":
            yield "-h", False
        if self.kind is SWITCH:
            # The parser of npm's mcp-proxy, yargs, takes --no-eventStore as well as --noEventStore.
            yield from (
                (f"--no-{self.name}", True),
                (f"--{_camel_case('no-' + self.name)}", True),
                (f"--no-{camel}", True),
            )

    def variables(self) -> Iterator[tuple[str, bool]]:
        """Yield every environment variable, and whether it negates.

        A question is not asked through the environment: MCP_PROXY_VERSION is too likely to be the version of an image.
        """
        upper = self.name.upper().replace("-", "_")
        if self.also:
            yield self.also, False
        if self.kind is not QUESTION:
            yield f"MCP_PROXY_{upper}", False
        if self.kind is SWITCH:
            yield f"MCP_PROXY_NO_{upper}", True


def _camel_case(name: str) -> str:
    first, *others = name.split("-")
    return first + "".join(word.capitalize() for word in others)


TIMEOUT = or_no_limit(DURATION)
COUNT_LIMIT = or_no_limit(NUMBER)
SIZE_LIMIT = or_no_limit(SIZE)
LEVEL = one_of("debug", "info", "warning", "error")
FORMAT = one_of("text", "json")
ISOLATION = one_of("session", "principal", "shared")
TRANSPORT = one_of("http-first", "sse-first", "http-only", "sse-only")
ERA = one_of("auto", "legacy", "modern")

GROUPS: Mapping[str, tuple[Option, ...]] = {
    "listen": (
        Option("host", HOST, "address or name to listen on", "127.0.0.1", "listen.host"),
        Option("port", PORT, "port to listen on; 0 picks one and prints it", "8080", "listen.port"),
        Option("uds", PATH, "listen on this Unix socket instead of a host and port", None, "listen.uds"),
        Option("root-path", URL_PATH, "prefix that a reverse proxy strips and clients must use", None, "listen.root_path"),
        Option("ssl-cert", PATH, "serve HTTPS with this certificate chain (PEM)", None, "listen.ssl_cert"),
        Option("ssl-key", PATH, "the certificate's private key (PEM)", None, "listen.ssl_key"),
        Option(
            "ssl-ca",
            PATH,
            "who signs clients' certificates, where they are verified (PEM)",
            None,
            "listen.ssl_ca",
        ),
        Option("ssl-verify-client", SWITCH, "refuse clients without a certificate", "off", "listen.ssl_verify_client"),
        Option(
            "trusted-proxy",
            NETWORK,
            "peer whose X-Forwarded-* is believed",
            None,
            "listen.trusted_proxies",
            separator=",",
        ),
        Option(
            "allowed-host",
            HOST_NAME,
            "name that clients may call us by, besides --host",
            None,
            "listen.allowed_hosts",
            separator=",",
        ),
    ),
    "endpoints": (
        Option("server", SERVERS, "serve one transport only", "both", "endpoints.servers"),
        Option("endpoint", URL_PATH, "path of the one transport that --server selects"),
        Option("sse-endpoint", URL_PATH, "path of the SSE stream", "/sse", "endpoints.sse_endpoint"),
        Option("stream-endpoint", URL_PATH, "path of Streamable HTTP", "/mcp", "endpoints.stream_endpoint"),
        Option("message-endpoint", URL_PATH, "path to POST to beside SSE", "/messages", "endpoints.message_endpoint"),
        Option("health-endpoint", URL_PATH, "path of the health report", "/healthz", "endpoints.health_endpoint"),
    ),
    "transport": (
        Option("stateless", SWITCH, "no sessions at the stream endpoint: each request stands alone", "off", "stateless"),
        Option("json-response", SWITCH, "answer with JSON instead of an event stream", "off", "json_response"),
        Option("modern", SWITCH, "serve revision 2026-07-28 beside those with a handshake", "on", "modern"),
        Option(
            "upstream-protocol",
            ERA,
            "era of the command's revision: legacy has a handshake, modern is 2026-07-28, auto finds out",
            "auto",
            "upstream_protocol",
        ),
    ),
    "child": (
        Option("shell", SWITCH, "run the command's words, joined by spaces, with /bin/sh -c", "off", "child.shell"),
        Option("cwd", DIRECTORY, "run the command in this directory instead of ours", None, "child.cwd"),
        Option(
            "env",
            ASSIGNMENT,
            "set this for the command; in MCP_PROXY_ENV, one a line",
            None,
            "child.environment",
            # Not a comma: it is too common in values (NO_PROXY=a,b).
            separator="\n",
            gather=dict,
        ),
        Option("pass-environment", SWITCH, "let the command inherit our environment", "on", "child.pass_environment"),
        Option(
            "isolation",
            ISOLATION,
            "what gets a child of its own: each session, each principal, or nobody",
            "session",
            "isolation",
        ),
        Option("spares", NUMBER, "children kept started for sessions to come", "1", "child.spares"),
        Option("max-message-size", SIZE_LIMIT, "longest message from a child", "64M", "child.max_message_size"),
    ),
    "time": (
        Option(
            "connection-timeout",
            TIMEOUT,
            "how long a child may take to initialize, and a client to go on",
            "60000",
            "times.connection_timeout",
        ),
        Option(
            "request-timeout", TIMEOUT, "how long an answer may take; progress extends it", "300000", "times.request_timeout"
        ),
        Option("session-idle-timeout", TIMEOUT, "how long a session may be idle", "30m", "times.session_idle_timeout"),
        Option("keep-alive-timeout", TIMEOUT, "how long a connection may be idle", "75s", "times.keep_alive_timeout"),
        Option(
            "graceful-shutdown-timeout",
            DURATION,
            "how long running calls may go on once we are told to stop",
            "5000",
            "times.graceful_shutdown_timeout",
        ),
    ),
    "limits": (
        Option("max-body-size", SIZE_LIMIT, "largest request body", "10M", "limits.max_body_size"),
        Option("max-sessions", COUNT_LIMIT, "sessions open at a time", "1000", "limits.max_sessions"),
        Option("max-connections", COUNT_LIMIT, "connections open at a time", "10000", "limits.max_connections"),
        Option("event-store", SWITCH, "keep events so that clients can resume", "on", "limits.event_store"),
        Option(
            "event-store-max-events", COUNT_LIMIT, "events kept for each session", "1000", "limits.event_store_max_events"
        ),
        Option(
            "event-store-max-bytes",
            SIZE_LIMIT,
            "bytes of events kept for each session",
            "16M",
            "limits.event_store_max_bytes",
        ),
    ),
    "auth": (
        Option(
            "api-key",
            KEY,
            "key that lets in; others can see it here, and can't in MCP_PROXY_API_KEY or a file",
            None,
            "auth.api_keys",
            separator=",",
        ),
        Option("api-key-file", PATH, "file of keys, one a line; read again on SIGHUP", None, "auth.api_key_file"),
        Option(
            "api-key-header-name",
            HEADER_NAME,
            "header with the key, besides Authorization: Bearer",
            "x-api-key",
            "auth.api_key_header_name",
        ),
        Option("api-key-in-query", SWITCH, "accept the key as ?apiKey=, too", "off", "auth.api_key_in_query"),
        Option(
            "auth-server-url",
            HTTP_URL,
            "server that is asked about keys; AUTH_SERVER_URL says the same",
            None,
            "auth.server_url",
            also="AUTH_SERVER_URL",
        ),
        Option("auth-cache", DURATION, "how long its answers are believed", "60s", "auth.cache_time"),
        Option("user-id", USER, "what the header X-User-Id has to be, on top of all else", None, "auth.user_id"),
        Option("oauth-issuer", PROTECTED_URL, "whose access tokens (JWT) let in", None, "auth.oauth_issuer"),
        Option(
            "oauth-audience",
            AUDIENCE,
            "what tokens for us name as their audience, such as the URL of our endpoint",
            None,
            "auth.oauth_audiences",
            separator=",",
        ),
        Option("oauth-scope", SCOPE, "scope that a token needs to let in", None, "auth.oauth_scopes", separator=","),
        Option(
            "oauth-jwks-url",
            PROTECTED_URL,
            "where the issuer's keys are, if its metadata does not say so",
            None,
            "auth.oauth_jwks_url",
        ),
        Option("oauth-realm", REALM, "realm named in challenges", "mcp", "auth.oauth_realm"),
    ),
    "browser": (
        Option("cors", SWITCH, "tell browsers that pages of other origins may call us, if they may", "on"),
        Option(
            "cors-origin",
            ORIGIN,
            "pages that may call us, besides those of --host and --allowed-host; * for all",
            None,
            "cors.origin",
            separator=",",
        ),
        Option(
            "cors-add-allowed-header",
            HEADER_NAME,
            "header that they may send, besides those of MCP",
            None,
            "cors.allowed_headers",
            separator=",",
            gather=lambda names: (*ALLOWED_HEADERS, *names),
        ),
        Option(
            "cors-expose-header",
            HEADER_NAME,
            "header of an answer that they may read, besides those of MCP",
            None,
            "cors.exposed_headers",
            separator=",",
            gather=lambda names: (*EXPOSED_HEADERS, *names),
        ),
    ),
    "many servers": (
        Option(
            "named-server",
            NAMED_COMMAND,
            "serve this command, too, at /servers/NAME/mcp and /servers/NAME/sse; in MCP_PROXY_NAMED_SERVER, one a line",
            separator="\n",
            gather=dict,
            words=2,
        ),
        Option(
            "config",
            PATH,
            "serve what this file names likewise: the mcpServers of Claude, Cursor or VS Code; read again on SIGHUP",
        ),
        Option("stdio", SWITCH, "be a stdio server made of all servers of --config, instead of serving HTTP", "off"),
    ),
    "tunnel": (
        Option("tunnel", SWITCH, "be reachable at a public URL, through a tunnel server", "off"),
        Option("tunnel-subdomain", SUBDOMAIN, "name to ask the tunnel server for", None, "tunnel.subdomain"),
        Option("tunnel-host", HTTP_URL, "the tunnel server", "https://tunnel.gla.ma", "tunnel.host"),
        Option("tunnel-open", SWITCH, "let the whole internet in, without credentials", "off", "tunnel.is_open_to_all"),
    ),
    "watch": (
        Option("debug", SWITCH, "log every message and tracebacks; implies --log-level debug", "off", "log.debug"),
        Option("log-level", LEVEL, "how much to log", "info", "log.level"),
        Option("log-format", FORMAT, "a line to read, or a JSON object a line", "text", "log.format"),
        Option("tap", PATH, "append every message to this file, a JSON object a line", None, "tap"),
        Option("metrics", SWITCH, "serve /metrics, for Prometheus", "on", "endpoints.metrics"),
        Option(
            "metrics-auth", SWITCH, "serve /metrics only to those who may use the server", "off", "endpoints.metrics_auth"
        ),
        Option(
            "exit-on-child-death", SWITCH, "end with status 1 when a server ends by itself", "off", "exit_on_child_death"
        ),
    ),
    "remote": (
        Option(
            "transport",
            TRANSPORT,
            "how to speak to a URL: Streamable HTTP or HTTP with SSE",
            "http-first",
            "remote.transport",
        ),
        Option(
            "header",
            HEADER,
            "send this to a URL, ${NAME} replaced from the environment; in MCP_PROXY_HEADER, one a line",
            separator="\n",
        ),
        Option("header-file", PATH, "file of such headers, one a line"),
        Option("protocol", ERA, "era of the server at a URL, as --upstream-protocol", "auto", "remote.protocol"),
        Option("oauth", SWITCH, "sign in with a browser where a URL asks for that", "off", "sign_in.browser"),
        Option("client-id", CLIENT_ID, "how the authorization server of a URL knows us", None, "sign_in.client_id"),
        Option(
            "client-secret",
            SECRET,
            "what it knows us by; others can see it here, and can't in MCP_PROXY_CLIENT_SECRET",
            None,
            "sign_in.client_secret",
        ),
        Option("token-url", PROTECTED_URL, "its token endpoint, if it can't be discovered", None, "sign_in.token_url"),
        Option(
            "client-issuer",
            PROTECTED_URL,
            "the authorization server that knows us by --client-id, and gets to hear of it alone",
            None,
            "sign_in.issuer",
        ),
        Option(
            "client-metadata-url",
            HTTP_URL,
            "our client metadata document, for --oauth where servers read such documents",
            None,
            "sign_in.client_metadata_url",
        ),
        Option(
            "client-scope",
            SCOPE,
            "scope to ask for, where a URL doesn't say which",
            None,
            "sign_in.scopes",
            separator=",",
        ),
        Option("redirect-port", PORT, "port to which the browser comes back; 0 for any", "0", "sign_in.redirect_port"),
        Option("token-file", PATH, "keep tokens here instead of the state folder (mode 600)", None, "sign_in.token_file"),
        Option("verify", SWITCH, "check the certificate of a URL", "on", "remote.verify"),
        Option("ca-file", PATH, "who signs certificates, instead of whom the system trusts (PEM)", None, "remote.ca_file"),
    ),
    "other": (
        Option("demo", SWITCH, "serve the built-in demo server instead of a command", "off"),
        Option("help", QUESTION, "show this and exit"),
        Option("version", QUESTION, "show the version and exit"),
    ),
}

OPTIONS: Mapping[str, Option] = {option.name: option for group in GROUPS.values() for option in group}
SPELLINGS = {word: (option, negates) for option in OPTIONS.values() for word, negates in option.spellings()}
VARIABLES = {name: (option, negates) for option in OPTIONS.values() for name, negates in option.variables()}

USAGE = """\
usage: trioproxy [options] [--] command [args...]     serve a stdio MCP server over HTTP
       trioproxy [options] --demo                     the same, with the built-in demo server
       trioproxy [options] --config FILE              serve every server in an mcpServers file
       trioproxy [options] URL [URL...]               the other way: a stdio server made of these
       trioproxy replay FILE                          a stdio server made of what --tap has recorded
       trioproxy healthcheck [--cacert FILE] URL      ask a running one whether it is well
"""

NOTES = """\
Options end at the first word that is not one, or at --; everything after that is the command's.

Each option has a camelCase spelling (--sseEndpoint) and an environment variable
(MCP_PROXY_SSE_ENDPOINT; an empty one counts as unset). The command line beats the environment.
Every switch can be turned around: --no-debug, --debug=off, MCP_PROXY_DEBUG=off. Where an option is
repeatable, commas separate the values in its variable (line ends in that of --env).

TIME is in milliseconds, or 250ms, 30s, 5m, 1h. SIZE is in bytes, or 64k, 10M, 1G. Where a limit may
be absent, 0 means that there is none.

Exit codes: 0 an orderly end, 1 a failure, 2 a mistake on the command line.
"""

_WIDTH = 100
_COLUMN = 32


def render_help() -> str:
    """Return what `--help` prints: every option with its default, at most 100 columns wide."""
    parts = [USAGE, NOTES]
    for title, options in GROUPS.items():
        rows = "".join(_help_row(option) for option in options)
        parts.append(f"{title}:\n{rows}")
    return "\n".join(parts)


def _help_row(option: Option) -> str:
    left = f"  {_usage(option)}"
    right = _meaning(option)
    if option.kind is not QUESTION:
        right += f" (default: {option.default or 'none'})"
    # A left half that is too long gets a line of its own.
    first = left.ljust(_COLUMN) if len(left) < _COLUMN - 1 else f"{left}\n{' ' * _COLUMN}"
    return first + textwrap.fill(right, _WIDTH - _COLUMN, break_on_hyphens=False).replace("\n", "\n" + " " * _COLUMN) + "\n"


def _usage(option: Option) -> str:
    if option.kind is SWITCH and option.default == "on":
        return f"--{option.name}, --no-{option.name}"
    return f"--{option.name} {option.kind.metavar}".rstrip()


def _meaning(option: Option) -> str:
    return f"{option.help}; repeatable" if option.separator else option.help


def render_markdown() -> str:
    """Return the README's table of options."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for title, options in GROUPS.items():
        lines.append(f"| **{title}** | | |")
        for option in options:
            # In a table a bar ends the cell even inside backquotes (GFM §4.10).
            usage = _usage(option).replace(", ", "`, `").replace("|", "\\|")
            default = f"`{option.default}`" if option.default else ""
            lines.append(f"| `{usage}` | {default} | {_meaning(option)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(render_markdown(), end="")  # noqa: T201
