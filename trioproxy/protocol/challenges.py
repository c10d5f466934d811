"""How a client says who it is, and how it is told to: `Authorization` in, `WWW-Authenticate` out (RFC 9110 §11).

The scheme is Bearer (RFC 6750), for access tokens and for API keys alike.  A challenge leads the client to the metadata of
what it asked for (RFC 9728 §5.1), and that to the issuer of tokens (MCP, Authorization §Authorization Server Location).

Not here: whether a token or a key is good (`auth`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from .errors import MalformedCredentials
from .urls import is_http_url, origin

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"

_CREDENTIALS: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?: +(.*))?", re.DOTALL)
# What a header carries as it is.  RFC 6750 §2.1 has fewer characters than a key of somebody's may have.
_KEY: Final = re.compile(r"[\x21-\x7e]+")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
# A JSON object as the header, which begins with `{`, and two or four further parts (RFC 7515 §7.1, RFC 7516 §7.1).
_JWT: Final = re.compile(r"e[w-z0-9_-][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){2}(?:(?:\.[A-Za-z0-9_-]*){2})?")
_NOT_DESCRIBABLE: Final = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]+")
_LONGEST_DESCRIPTION: Final = 200


def parse_bearer(value: str) -> str | None:
    """Return the token of an `Authorization` of scheme Bearer; None if it has another scheme, or no token.

    A token that is empty is what a client sends that was given none: it is to be asked for credentials, not refused.

    Raises:
      MalformedCredentials: it is neither a scheme with a token nor anything else that RFC 9110 §11.4 allows.
    """
    match = _CREDENTIALS.fullmatch(value.strip(" \t"))
    if match is None:
        if not value.strip():
            return None
        raise MalformedCredentials("Authorization does not begin with a scheme, such as Bearer")
    scheme, token = match.groups()
    # "uses a case-insensitive token as a means to identify the authentication scheme" (RFC 9110 §11.1)
    if scheme.lower() != "bearer" or not token:
        return None
    if not is_api_key(token):
        raise MalformedCredentials("Authorization: after Bearer and a space there is one token, of visible ASCII characters")
    return token


def is_api_key(text: str) -> bool:
    """Tell whether `text` can be an API key: visible ASCII characters."""
    return _KEY.fullmatch(text) is not None


def looks_like_token(text: str) -> bool:
    """Tell whether `text` has the shape of an access token that is a JWT, and no API key of anybody's."""
    return _JWT.fullmatch(text) is not None


def is_scope(text: str) -> bool:
    """Tell whether `text` is one scope (RFC 6749 §3.3)."""
    return _SCOPE.fullmatch(text) is not None


def bearer_challenge(
    *,
    realm: str,
    resource_metadata: str = "",
    scopes: Iterable[str] = (),
    error: str = "",
    description: str = "",
) -> bytes:
    """Return the value of a `WWW-Authenticate` header; a parameter that is empty is left out.

    Args:
      resource_metadata: the URL of the metadata (RFC 9728 §5.1).
      scopes: what a token would need.
      error: a code of RFC 6750 §3.1; none where a request came without any credentials.
      description: said to whoever develops the client; characters that are not allowed in it are replaced.
    """
    parameters = {
        "realm": realm,
        "resource_metadata": resource_metadata,
        "scope": " ".join(scope for scope in scopes if is_scope(scope)),
        "error": _describable(error),
        "error_description": _describable(description),
    }
    return ("Bearer " + ", ".join(f"{name}={_quoted(text)}" for name, text in parameters.items() if text)).encode()


def _quoted(text: str) -> str:
    """Return `text` as a quoted-string (RFC 9110 §5.6.4), what can't stand in one replaced."""
    visible = "".join(c if " " <= c <= "~" else "?" for c in text)
    return '"' + visible.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _describable(text: str) -> str:
    # "Values for the "error" and "error_description" attributes … MUST NOT include characters outside the set %x20-21 /
    # %x23-5B / %x5D-7E" (RFC 6750 §3).
    plain = text.replace('"', "'").replace("\\", "/")
    return _NOT_DESCRIBABLE.sub("?", plain)[:_LONGEST_DESCRIPTION]


def metadata_path(endpoint: str) -> str:
    """Return where the metadata of the resource at `endpoint` is served (RFC 9728 §3.1); "" is the whole server."""
    return WELL_KNOWN + endpoint


def resource_name(url: str, audiences: Sequence[str]) -> str:
    """Return by which URL clients are to know the resource that they find at `url`.

    It is `url` itself, unless an audience of our tokens is a URL that it belongs to: the same host, and a path above it.
    Scheme and port are that audience's then, since we may serve plain HTTP behind somebody who serves HTTPS.
    """
    came = urlsplit(url)
    return next((one for one in audiences if is_http_url(one) and _belongs(came, urlsplit(one))), url)


def _belongs(came: SplitResult, audience: SplitResult) -> bool:
    above = audience.path.rstrip("/")
    is_below = came.path == above or came.path.startswith(f"{above}/")
    return is_below and not audience.query and _host(came) == _host(audience)


def _host(parts: SplitResult) -> tuple[str, int | None]:
    _, host, _ = origin(parts)
    return host, parts.port if parts.port not in (80, 443) else None


def resource_metadata(resource: str, issuer: str, scopes: Sequence[str]) -> dict[str, Any]:
    """Return the metadata of a resource whose tokens come from `issuer` (RFC 9728 §2)."""
    metadata: dict[str, Any] = {
        "resource": resource,
        # "MUST include the authorization_servers field containing at least one authorization server"
        # (Authorization Server Discovery §Authorization Server Location)
        "authorization_servers": [issuer],
        # "Access tokens MUST NOT be included in the URI query string" (Authorization §Token Requirements)
        "bearer_methods_supported": ["header"],
    }
    if scopes:
        metadata["scopes_supported"] = list(scopes)
    return metadata
