"""What an authorization server answers when it is asked for a token, or for a registration (RFC 6749 §5, RFC 7591 §3.2).

It answers with a token, a registration, or an error that has a name.  What is wrong with an answer is told without what is
in it: that may be a token, or a secret of ours that came back.

Not here: which request is made when (`oauth_provider`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..http_client import HttpClientError

_LONGEST_REASON: Final = 300
_SHORTEST_SECRET: Final = 6


class SignInFailed(HttpClientError):
    """There is no token, and so no answer; the message says at which step that was, and why, and holds no secret."""


def read_token(body: bytes) -> dict[str, Any]:
    """Return the members of a token that count, in the types that the standard gives them.

    Raises:
      SignInFailed: the answer holds none, or none that can be used.
    """
    answer = _read_object(body)
    if answer is None or not isinstance(answer.get("access_token"), str) or not answer["access_token"]:
        raise SignInFailed("the token endpoint answers without an access token")
    # A value that is no header's would break every request.
    if not all("!" <= c <= "~" for c in answer["access_token"]):
        raise SignInFailed("the token endpoint answers with an access token that no header can carry")
    kind = answer.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise SignInFailed(f"the token endpoint answers with a token of type {plain(kind)!r}; expected Bearer")
    token = {"access_token": answer["access_token"], "token_type": "Bearer"}
    for name in ("refresh_token", "scope"):
        if isinstance(answer.get(name), str) and answer[name]:
            token[name] = answer[name]
    lifetime = _seconds(answer.get("expires_in"))
    return token if lifetime is None else {**token, "expires_in": lifetime}


def check_registration(body: bytes) -> None:
    """Check that an answer registers us.

    Raises:
      SignInFailed: it names no client.
    """
    answer = _read_object(body)
    if answer is None or not isinstance(answer.get("client_id"), str) or not answer["client_id"]:
        raise SignInFailed("the registration endpoint answers without a client id")


def describe_refusal(step: str, status: int, body: bytes, secrets: Iterable[str] = ()) -> str:
    """Return what is to be said of an answer that is none.

    Args:
      secrets: what we have sent, and should not be shown if it comes back.
    """
    answer = _read_object(body) or {}
    text = describe(answer, secrets)
    return f"{step} refused: {text or f'HTTP {status}'}"


def describe(error: Mapping[str, Any], secrets: Iterable[str] = ()) -> str:
    """Return the name of an error and what is said about it, "" if there is neither (RFC 6749 §4.1.2.1, §5.2)."""
    said = [plain(error[name]) for name in ("error", "error_description") if isinstance(error.get(name), str)]
    text = ": ".join(part for part in said if part)
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "…")
    return text[:_LONGEST_REASON]


def plain(text: object) -> str:
    """Return a text that others wrote, cut, and in one line."""
    return "".join(c if c.isprintable() else "?" for c in str(text))[: 4 * _LONGEST_REASON]


def _read_object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _seconds(value: object) -> int | None:
    """Return a lifetime; some say it as text, and one that makes no sense is none."""
    try:
        seconds = int(float(value)) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else -1
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < 10**10 else None
