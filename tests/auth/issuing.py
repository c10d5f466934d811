"""An issuer for tests: keys of every kind, tokens signed with them, and a stub server where they are to be found."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.stub_http import Asked, Reply, Stub, open_stub

AUDIENCE = "https://mcp.example.com/mcp"


@cache
def private_key(name: str = "one", kind: str = "RSA") -> Any:
    """Return the same private key for the same name."""
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}[kind])


def jwk(name: str = "one", kind: str = "RSA", **members: Any) -> dict[str, Any]:
    """Return the public half of a key as a JSON Web Key with `name` as its kid."""
    public = private_key(name, kind).public_key()
    to_jwk: Any = RSAAlgorithm.to_jwk if kind == "RSA" else OKPAlgorithm.to_jwk if kind == "Ed25519" else ECAlgorithm.to_jwk
    made: dict[str, Any] = json.loads(to_jwk(public))
    made.pop("key_ops", None)
    return {**made, "kid": name, **members}


def jwks(*keys: dict[str, Any]) -> dict[str, Any]:
    """Return a set of JSON Web Keys."""
    return {"keys": list(keys)}


@dataclass
class Issuer:
    """An issuer, what it serves, and tokens of it."""

    url: str = "https://auth.example.com"
    keys: dict[str, Any] = field(default_factory=lambda: jwks(jwk()))
    documents: dict[str, Reply] = field(default_factory=dict)
    stub: Stub | None = None

    def claims(self, **claims: Any) -> dict[str, Any]:
        """Return the claims of a good token, with some changed; None takes one away."""
        now = int(time.time())
        base = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "exp": now + 300, "iat": now, "scope": "read write"}
        return {name: value for name, value in {**base, **claims}.items() if value is not None}

    def token(
        self,
        algorithm: str = "RS256",
        name: str = "one",
        kind: str = "RSA",
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return a token, signed with a key of its own unless `name` is of somebody else's."""
        all_headers = {"kid": name, "typ": "at+jwt"} if headers is None else headers
        return jwt.encode(self.claims(**claims), private_key(name, kind), algorithm, all_headers)

    async def answer(self, asked: Asked) -> Reply:
        """Serve the documents."""
        if asked.target == "/jwks":
            return Reply(self.keys)
        return self.documents.get(asked.target, Reply(b"nothing here", 404))


@asynccontextmanager
async def open_issuer(path: str = "", well_known: str = "/.well-known/oauth-authorization-server") -> AsyncIterator[Issuer]:
    """Run an issuer on this machine, with its metadata in one place."""
    issuer = Issuer()
    async with open_stub(issuer.answer) as stub:
        issuer.url, issuer.stub = stub.url + path, stub
        issuer.documents[well_known] = Reply({"issuer": issuer.url, "jwks_uri": f"{stub.url}/jwks"})
        yield issuer
