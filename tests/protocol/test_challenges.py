"""`Authorization` and `WWW-Authenticate`, as the RFCs and the specification spell them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.protocol.challenges import (
    bearer_challenge,
    is_api_key,
    is_scope,
    looks_like_token,
    metadata_path,
    parse_bearer,
    resource_metadata,
    resource_name,
)
from trioproxy.protocol.errors import MalformedCredentials

# RFC 9110 §11.3 and §5.6.4
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
CHALLENGE = re.compile(rf"{TOKEN} {TOKEN}={QUOTED}(?:, {TOKEN}={QUOTED})*")


# Authorization


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("Bearer mF_9.B5f-4.1JqM", "mF_9.B5f-4.1JqM"),
        ("bearer x", "x"),
        ("BEARER   x", "x"),
        (" Bearer x\t", "x"),
        ("Bearer k!y,with:signs==", "k!y,with:signs=="),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", None),
        ('Digest username="Mufasa", realm="x"', None),
        ("Bearers x", None),
    ],
)
def test_a_bearer_token_is_what_follows_the_scheme(value: str, token: str | None) -> None:
    """RFC 6750 §2.1; RFC 9110 §11.1: the scheme in any case."""
    assert parse_bearer(value) == token


@pytest.mark.parametrize(
    "value", ["Bearer a b", "Bearer a, Bearer b", "Bearer k\u00e9y", "Bearer a\tb", "Bearer\tx", "@", "Bea\0"]
)
def test_what_is_no_authorization_is_refused(value: str) -> None:
    with pytest.raises(MalformedCredentials) as caught:
        parse_bearer(value)
    assert value not in str(caught.value)


@given(st.text())
def test_any_text_is_a_token_or_none_or_refused(value: str) -> None:
    try:
        token = parse_bearer(value)
    except MalformedCredentials:
        return
    assert token is None or is_api_key(token)


@pytest.mark.parametrize("text", ["a", "sk-1234", "k!y,1:2==", "~" * 5000])
def test_a_key_is_visible_ascii(text: str) -> None:
    assert is_api_key(text)


@pytest.mark.parametrize("text", ["", " ", "a b", "a\n", "\u00e9", "a\0", "\x7f"])
def test_nothing_else_is_a_key(text: str) -> None:
    assert not is_api_key(text)


@pytest.mark.parametrize(
    "text", ["eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "eyJhbGciOiJub25lIn0.e30.", "ewogIjEiOjF9.e30.x", "eyJ9.1.2.3.4"]
)
def test_a_token_has_the_shape_of_a_jwt(text: str) -> None:
    assert looks_like_token(text)


@pytest.mark.parametrize(
    "text", ["", "sk-1234", "a.b.c", "eyJ9.e30", "eyJ9.1.2.3", "eyJ9.1.2.3.4.5", "eyJ9.e 30.x", "eyJ9.e30.x\n"]
)
def test_a_key_does_not(text: str) -> None:
    assert not looks_like_token(text)


# WWW-Authenticate


def test_a_challenge_is_as_the_specification_shows_it() -> None:
    """2026-07-28, Authorization §Scope Challenge Handling, its example, with our realm."""
    assert bearer_challenge(
        realm="mcp",
        resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource",
        scopes=["files:read", "files:write"],
        error="insufficient_scope",
        description="File write permission required for this operation",
    ) == (
        b'Bearer realm="mcp", '
        b'resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource", '
        b'scope="files:read files:write", '
        b'error="insufficient_scope", '
        b'error_description="File write permission required for this operation"'
    )


def test_what_is_not_said_is_left_out() -> None:
    """RFC 6750 §3.1: without credentials "the resource server SHOULD NOT include an error code"."""
    assert bearer_challenge(realm="mcp") == b'Bearer realm="mcp"'


@pytest.mark.parametrize(
    ("realm", "value"),
    [
        ('a "b"', rb'"a \"b\""'),
        ("a\\b", rb'"a\\b"'),
        ("a\r\nSet-Cookie: b", b'"a??Set-Cookie: b"'),
        ("\u00e9\0", b'"??"'),
    ],
)
def test_a_realm_is_quoted(realm: str, value: bytes) -> None:
    assert bearer_challenge(realm=realm) == b"Bearer realm=" + value


def test_a_description_has_the_characters_that_it_may_have() -> None:
    """RFC 6750 §3: neither quotes nor backslashes, not even quoted ones."""
    value = bearer_challenge(realm="x", error='a"b', description='say "no"\\\r\nX: y\u00e9\u2028' + "z" * 500)
    assert value.startswith(b'Bearer realm="x", error="a\'b", error_description="say \'no\'/?X: y?zzz')
    assert len(value) < 300


def test_a_scope_that_is_none_is_left_out() -> None:
    assert bearer_challenge(realm="x", scopes=["a", 'b"', "c d", "", "\n", "e:f"]) == b'Bearer realm="x", scope="a e:f"'


@given(st.text(min_size=1), st.text(), st.lists(st.text()), st.text(), st.text())
def test_a_challenge_is_one_whatever_is_in_it(realm: str, url: str, scopes: list[str], error: str, text: str) -> None:
    value = bearer_challenge(realm=realm, resource_metadata=url, scopes=scopes, error=error, description=text)
    assert CHALLENGE.fullmatch(value.decode("ascii"))


@pytest.mark.parametrize("text", ["read", "files:read", "https://a.example/scope", "!#[]~"])
def test_a_scope_has_no_quotes(text: str) -> None:
    assert is_scope(text)


@pytest.mark.parametrize("text", ["", "a b", 'a"', "a\\", "\u00e9", "a\n"])
def test_nothing_else_is_a_scope(text: str) -> None:
    assert not is_scope(text)


# Metadata


def test_the_metadata_of_a_resource_names_its_issuer() -> None:
    """RFC 9728 §2; 2026-07-28, Authorization Server Discovery §Authorization Server Location."""
    assert resource_metadata("https://mcp.example.com/mcp", "https://auth.example.com", ["read", "write"]) == {
        "resource": "https://mcp.example.com/mcp",
        "authorization_servers": ["https://auth.example.com"],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["read", "write"],
    }
    assert "scopes_supported" not in resource_metadata("https://a", "https://b", [])


def test_the_metadata_of_an_endpoint_is_below_the_well_known_path() -> None:
    """2026-07-28, Authorization Server Discovery §Protected Resource Metadata Discovery Requirements, its examples."""
    assert metadata_path("/public/mcp") == "/.well-known/oauth-protected-resource/public/mcp"
    assert metadata_path("") == "/.well-known/oauth-protected-resource"


@pytest.mark.parametrize(
    ("url", "audiences", "name"),
    [
        # An audience that is the URL, or above it.
        ("https://h/mcp", ["https://h/mcp"], "https://h/mcp"),
        ("https://h/mcp", ["https://h"], "https://h"),
        ("https://h/mcp", ["https://h/"], "https://h/"),
        ("https://h/a/mcp", ["https://h/a"], "https://h/a"),
        ("https://h:8443/mcp", ["https://h:8443/mcp"], "https://h:8443/mcp"),
        # Somebody before us serves HTTPS.
        ("http://h/mcp", ["https://h/mcp"], "https://h/mcp"),
        ("http://H/mcp", ["https://h/mcp"], "https://h/mcp"),
        # The first that fits.
        ("https://h/sse", ["api://x", "https://h/mcp", "https://h/sse", "https://h"], "https://h/sse"),
        # Audiences that are names of something else.
        ("https://h/mcp", [], "https://h/mcp"),
        ("https://h/mcp", ["api://mcp", "mcp"], "https://h/mcp"),
        ("https://h/mcp", ["https://my-api/"], "https://h/mcp"),
        ("https://h/mcp", ["https://h/mcpx", "https://h/mc", "https://h/mcp/x", "https://h/?a"], "https://h/mcp"),
        ("https://h:8443/mcp", ["https://h/mcp"], "https://h:8443/mcp"),
    ],
)
def test_a_resource_is_called_as_clients_call_it(url: str, audiences: list[str], name: str) -> None:
    """RFC 9728 §3.3: a client ignores metadata whose `resource` is not what it asked about."""
    assert resource_name(url, audiences) == name
