"""Who may come in: what a request says of its sender, and who that turns out to be.

    authenticate(request) → Principal | None        or AuthenticationError, InsufficientScope, HttpError

A *way* in is a function of that shape: API keys, a server that is asked, an issuer's tokens, or one of yours.  Several are
put together by `first_of`: whoever is let in by one of them is in.  None means that the way has nothing to go by: the
request has no credentials of its kind.

Not here: the ways themselves, and which of them are configured (`authenticator`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

from ..protocol.challenges import is_scope, parse_bearer
from ..protocol.errors import (
    AuthenticationError,
    AuthenticationUnavailable,
    InsufficientScope,
    MalformedCredentials,
    TrioproxyError,
)

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS: Final = "MCP_PROXY_"
_USER_ID: Final = "MCP_PROXY_USER_ID"
_PERMISSIONS: Final = "MCP_PROXY_PERMISSIONS"
_LONGEST_ID: Final = 1024
_HEADER_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


@dataclass(frozen=True)
class Principal:
    """Somebody who has been let in.

    Args:
      id: what the authority calls them.
      permissions: what they may do, in words that the server behind us understands; none has a comma.
      environment: variables for their own child, and for nobody else's.
      scopes: what their token is good for.
      is_told: their child is told who they are, though nothing else is said of them.
      authority: who vouches for the id, such as an issuer's URL: two authorities may call two people the same.

    Raises:
      ValueError: something that could not be handed to a child; the message says what.
    """

    id: str
    permissions: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False, hash=False)
    scopes: tuple[str, ...] = ()
    authority: str = ""
    is_told: bool = False

    def __post_init__(self) -> None:
        if not self.id or not self.id.isprintable() or len(self.id) > _LONGEST_ID:
            raise ValueError(f"an id is 1 to {_LONGEST_ID} printable characters, and this is {self.id[:40]!r}")
        for permission in self.permissions:
            if not permission or not permission.isprintable() or "," in permission:
                raise ValueError(f"a permission is printable and has no comma, and this is {permission[:40]!r}")
        for scope in self.scopes:
            if not is_scope(scope):
                raise ValueError(f"a scope is visible ASCII without quotes, and this is {scope[:40]!r}")
        for name, value in self.environment.items():
            # Ours say who the principal is.
            if _VARIABLE.fullmatch(name) is None or name.startswith(_OURS):
                raise ValueError(f"a variable can't have the name {name[:40]!r}")
            if "\0" in value or not _is_encodable(value):
                raise ValueError(f"the value of the variable {name} can't be given to a process")
        object.__setattr__(self, "environment", MappingProxyType(dict(self.environment)))

    @property
    def key(self) -> tuple[str, str]:
        """What sessions are bound to: equal for the same principal only, whatever rights it has at the time."""
        return self.authority, self.id

    @property
    def variables(self) -> Mapping[str, str]:
        """What the environment of their own child says of them; empty where nothing was said that a child would need."""
        if not (self.environment or self.permissions or self.is_told):
            return {}
        return {**self.environment, _USER_ID: self.id, _PERMISSIONS: ",".join(self.permissions)}


def key_of(principal: Principal | None) -> tuple[str, str] | None:
    """Return what belongs to `principal` is bound to; None where nobody is asked who they are."""
    return None if principal is None else principal.key


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class HttpError(Exception):
    """An answer of the caller's own, sent as it is: for an `authenticate` that wants to say more than 401.

    Args:
      status: 400 to 599.
      headers: those that frame the body are ours, and are left out.

    Raises:
      ValueError: something that HTTP can't carry.
    """

    def __init__(self, status: int, headers: Sequence[tuple[bytes, bytes]] = (), body: bytes = b"") -> None:
        super().__init__(f"HTTP status {status}")
        if not 400 <= status <= 599:
            raise ValueError(f"the status of an error is 400 to 599, and this is {status}")
        for name, value in headers:
            if _HEADER_NAME.fullmatch(name) is None or _HEADER_VALUE.fullmatch(value) is None:
                raise ValueError(f"{name[:40]!r} is no header that HTTP can carry")
        self.status = status
        self.headers = tuple((name.lower(), value) for name, value in headers if name.lower() not in _FRAMING)
        self.body = body


class AuthRequest:
    """What a way in sees of a request.

    Args:
      scope: the request as ASGI has it.
    """

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.method: Final[str] = scope["method"]
        self.path: Final[str] = scope["path"]
        self._scope = scope

    def __repr__(self) -> str:
        # Not the headers, and not the query: there may be a key in them.
        return f"<AuthRequest {self.method} {self.path}>"

    @property
    def client(self) -> str | None:
        """The address that the connection comes from; None for a Unix socket."""
        client = self._scope.get("client")
        return None if client is None else client[0]

    def header_values(self, name: str) -> list[str]:
        """Return every value of a header."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self._scope["headers"] if key == wanted]

    def header(self, name: str) -> str | None:
        """Return the only value of a header, None where there is none.

        Raises:
          MalformedCredentials: it comes more than once, and whoever passed it on may have believed another one.
        """
        values = self.header_values(name)
        if len(values) > 1:
            raise MalformedCredentials(f"{name} comes {len(values)} times")
        return values[0].strip(" \t") if values else None

    @property
    def bearer(self) -> str | None:
        """The token of `Authorization: Bearer`, if there is one.

        Raises:
          MalformedCredentials: the header comes more than once, or makes no sense.
        """
        value = self.header("Authorization")
        return None if value is None else parse_bearer(value)

    @cached_property
    def query(self) -> Mapping[str, list[str]]:
        """The parameters of the query string."""
        return parse_qs(self._scope.get("query_string", b"").decode("latin-1"))

    @property
    def base_url(self) -> str:
        """The URL under which the client finds us, up to the paths that we serve.

        It is made of what the request says, so it is worth no more than the check of its Host.
        """
        hosts = self.header_values("Host")
        host = hosts[0] if hosts else "localhost"
        return f"{self._scope.get('scheme', 'http')}://{host}{self._scope.get('root_path', '')}"


Authenticate: TypeAlias = Callable[[AuthRequest], Awaitable[Principal | None]]
"""A way in."""

# Of several reasons why somebody was not let in, the one that helps most.
_GRAVITY: Final[Sequence[type[TrioproxyError]]] = (
    InsufficientScope,
    # The one way that did not answer may have been theirs.
    AuthenticationUnavailable,
    AuthenticationError,
)


def first_of(*ways: Authenticate) -> Authenticate:
    """Return the way that lets in whom any of `ways` lets in; they are tried in their order.

    Credentials that can't be read, and an `HttpError`, are the answer at once.  Otherwise, if none lets the request in, the
    gravest of their reasons is told, of equal ones the last.
    """

    async def authenticate(request: AuthRequest) -> Principal | None:
        reasons: list[TrioproxyError] = []
        for way in ways:
            try:
                principal = await way(request)
            except (InsufficientScope, AuthenticationUnavailable, AuthenticationError) as error:
                reasons.append(error)
            else:
                if principal is not None:
                    return principal
        for kind in _GRAVITY:
            for reason in reversed(reasons):
                if isinstance(reason, kind):
                    raise reason
        return None

    return authenticate
