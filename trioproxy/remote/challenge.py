"""A refusal, and what the remote says that it wants (RFC 6750 §3; MCP, Authorization §Error Handling)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ..http_client import Headers

_SCOPE: Final = re.compile(r'\bscope=(?:"([^"]*)"|([^\s,"]+))')
_INSUFFICIENT: Final = re.compile(r'\berror="?insufficient_scope\b')


@dataclass(frozen=True)
class Challenge:
    """A refusal with 401 or 403.

    Attributes:
      headers: all of its headers, names in lower case.
      scope: which scopes a token would need, None where nothing is said of that.
      is_step_up: our token is good, and does not go far enough.
    """

    status: int
    headers: Headers
    scope: str | None
    is_step_up: bool

    @property
    def scopes(self) -> frozenset[str]:
        """The same scopes as a set."""
        return frozenset((self.scope or "").split())


def read_challenge(status: int, headers: Headers) -> Challenge | None:
    """Return what a refusal wants, None if no token would help."""
    text = ", ".join(value.decode("latin-1") for name, value in headers if name == b"www-authenticate")
    is_step_up = status == 403 and _INSUFFICIENT.search(text) is not None
    if status != 401 and not is_step_up:
        return None
    match = _SCOPE.search(text)
    # The SDK, which reads them as well, takes a scope of `""` for one of that name.
    plain = [(name, value.replace(b'scope=""', b"")) for name, value in headers]
    return Challenge(status, plain, (match[1] or match[2] or None) if match else None, is_step_up)
