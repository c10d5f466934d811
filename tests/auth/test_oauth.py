"""Access tokens: what is good about a good one, and what is wrong with all the others."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jwt
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from tests.auth.asking import asking, bearer
from tests.auth.issuing import AUDIENCE, Issuer, jwk, jwks, open_issuer, private_key
from trioproxy.auth import Principal
from trioproxy.auth.issuer_keys import IssuerKeys, KeySet
from trioproxy.auth.oauth import TokenAuth, oauth_auth
from trioproxy.http_client import HttpClientError
from trioproxy.protocol.errors import AuthenticationError, AuthenticationUnavailable, InsufficientScope

ISSUER = Issuer()


def way_for(keys: dict[str, Any] | None = None, *scopes: str, audiences: tuple[str, ...] = (AUDIENCE,)) -> TokenAuth:
    """Return the way in for tokens of ISSUER, whose keys are known."""

    async def fetch() -> KeySet:
        return KeySet(ISSUER.keys if keys is None else keys)

    return TokenAuth(ISSUER.url, audiences, scopes, IssuerKeys(fetch))


async def let_in(token: str, way: TokenAuth | None = None) -> Principal:
    principal = await (way or way_for()).authenticate(bearer(token))
    assert principal is not None
    return principal


async def refusal(token: str, way: TokenAuth | None = None) -> str:
    with pytest.raises(AuthenticationError) as caught:
        await (way or way_for()).authenticate(bearer(token))
    assert caught.value.error == "invalid_token"
    assert token not in str(caught.value)
    return str(caught.value)


def part(value: object) -> str:
    """Return one part of a token as it is encoded."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(header: dict[str, Any], signature: bytes = b"x", **claims: Any) -> str:
    return f"{part(header)}.{part(ISSUER.claims(**claims))}.{part(signature)}"


# Good ones


async def test_a_token_that_the_issuer_has_signed_for_us_lets_in() -> None:
    principal = await let_in(ISSUER.token())
    assert principal == Principal("alice", scopes=("read", "write"), authority=ISSUER.url)


async def test_everything_is_found_by_the_name_of_the_issuer() -> None:
    async with open_issuer("/tenant1", "/tenant1/.well-known/openid-configuration") as issuer:
        way = oauth_auth(issuer.url, [AUDIENCE], scopes=["read"])
        for _ in range(3):
            assert await way(bearer(issuer.token())) is not None
        assert issuer.stub is not None
        assert issuer.stub.targets.count("/jwks") == 1


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("RS256", "RSA"),
        ("RS512", "RSA"),
        ("PS256", "RSA"),
        ("ES256", "P-256"),
        ("ES384", "P-384"),
        ("ES512", "P-521"),
        ("EdDSA", "Ed25519"),
    ],
)
async def test_a_token_may_be_signed_with_any_algorithm_that_has_a_public_key(algorithm: str, kind: str) -> None:
    await let_in(ISSUER.token(algorithm, "one", kind), way_for(jwks(jwk("one", kind))))


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", None])
async def test_a_token_has_the_type_of_one_or_of_none(typ: str | None) -> None:
    await let_in(ISSUER.token(headers={"kid": "one", "typ": typ}))


async def test_one_of_several_audiences_will_do_on_either_side() -> None:
    way = way_for(None, audiences=("api://mcp", AUDIENCE))
    await let_in(ISSUER.token(aud=["other", AUDIENCE]), way)
    await let_in(ISSUER.token(aud="api://mcp"), way)


async def test_clocks_may_differ_a_little() -> None:
    now = int(time.time())
    await let_in(ISSUER.token(exp=now - 20, nbf=now + 20, iat=now + 20))


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "b a"}, ("a", "b")),
        ({"scope": None, "scp": "a b"}, ("a", "b")),
        ({"scope": None, "scp": ["a", "b"]}, ("a", "b")),
        ({"scope": ["a", "b"]}, ("a", "b")),
        ({"scope": None}, ()),
        ({"scope": ""}, ()),
        ({"scope": 7}, ()),
        ({"scope": [1, "a", ""]}, ("a",)),
    ],
)
async def test_scopes_are_words_or_a_list(claims: dict[str, Any], scopes: tuple[str, ...]) -> None:
    assert (await let_in(ISSUER.token(**claims))).scopes == scopes


async def test_all_the_scopes_that_are_asked_for_are_needed_and_named() -> None:
    """2026-07-28, Authorization §Runtime Insufficient Scope Errors: all of them in one challenge."""
    await let_in(ISSUER.token(scope="x read write"), way_for(None, "read", "write"))
    for scope in ("read", "", "read writer", "READ WRITE", None):
        with pytest.raises(InsufficientScope) as caught:
            await way_for(None, "read", "write").authenticate(bearer(ISSUER.token(scope=scope)))
        assert caught.value.scopes == ("read", "write")
        assert "write" in str(caught.value)


async def test_who_has_no_token_is_nobody() -> None:
    assert await way_for().authenticate(asking()) is None
    assert await way_for().authenticate(asking(("Authorization", "Basic abc"))) is None
    # "Access tokens MUST NOT be included in the URI query string" (§Token Requirements).
    assert await way_for().authenticate(asking(query=f"access_token={ISSUER.token()}")) is None


# Tokens that are somebody else's, or not good any more


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "https://other.example"}, "the token is not for this server"),
        ({"aud": AUDIENCE + "/"}, "the token is not for this server"),
        ({"aud": []}, "the token has no claim aud"),
        ({"aud": {AUDIENCE: 1}}, "the token is not for this server"),
        ({"aud": [AUDIENCE, 1]}, "the token is not for this server"),
        ({"aud": None}, "the token has no claim aud"),
        ({"exp": None}, "the token has no claim exp"),
        ({"exp": 0}, "the token has expired"),
        ({"exp": True}, "the token has expired"),
        ({"exp": "soon"}, "the token is not valid"),
        ({"exp": [1]}, "the token is not valid"),
        ({"sub": None}, "the token has no claim sub"),
        ({"sub": 7}, "the token is not valid"),
        ({"sub": ""}, "the token's claims make no principal"),
        ({"sub": "a\0b"}, "the token's claims make no principal"),
    ],
)
async def test_a_token_with_the_wrong_claims_is_refused(claims: dict[str, Any], reason: str) -> None:
    now = int(time.time())
    assert (await refusal(ISSUER.token(**claims))).startswith(reason)
    assert await refusal(ISSUER.token(exp=now - 31)) == "the token has expired"
    assert await refusal(ISSUER.token(nbf=now + 40)) == "the token is not valid yet"
    assert await refusal(ISSUER.token(iat=now + 40)) == "the token is not valid yet"


@pytest.mark.parametrize("issuer", ["https://evil.example", ISSUER.url + "/", ISSUER.url.upper(), "", None, 7, [ISSUER.url]])
async def test_a_token_of_another_issuer_is_refused(issuer: object) -> None:
    # Signed by hand: the library would not make some of them.
    header = {"alg": "ES256", "kid": "one"}
    claims = {**ISSUER.claims(), "iss": issuer}
    signed = jwt.PyJWS().encode(json.dumps(claims).encode(), private_key("one", "P-256"), "ES256", header)
    reason = await refusal(signed, way_for(jwks(jwk("one", "P-256"))))
    assert reason in ("the token is from another issuer", "the token has no claim iss")


async def test_an_infinite_token_is_refused() -> None:
    for number in ("1e999", "Infinity", "NaN", "-1e999"):
        payload = json.dumps(ISSUER.claims(exp=0)).replace('"exp": 0', f'"exp": {number}').encode()
        signed = jwt.PyJWS().encode(payload, private_key("one", "P-256"), "ES256", {"kid": "one"})
        assert await refusal(signed, way_for(jwks(jwk("one", "P-256")))) == "the token is not valid"


@pytest.mark.parametrize("typ", ["logout+jwt", "secevent+jwt", "dpop+jwt", "JOSE", "", 7])
async def test_a_token_for_another_end_is_refused(typ: object) -> None:
    """RFC 8725 §3.11: the issuer signs them with the same key."""
    token = jwt.PyJWS().encode(json.dumps(ISSUER.claims()).encode(), private_key(), "RS256", {"kid": "one", "typ": "x"})
    header = {"alg": "RS256", "kid": "one", "typ": typ}
    assert await refusal(".".join([part(header), *token.split(".")[1:]])) == "this is no access token"


# Forgeries


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, 7, ["RS256"], "HS256", "ES256K", "rs256"])
@pytest.mark.parametrize("signature", [b"", b"x"])
async def test_a_token_that_nobody_has_signed_is_refused(algorithm: object, signature: bytes) -> None:
    reason = await refusal(forged({"alg": algorithm, "kid": "one"}, signature))
    assert reason == "the token is not signed with an algorithm that is accepted here"


async def test_the_public_key_is_no_secret_to_sign_with() -> None:
    """RFC 8725 §2.1: HS256 with the bytes of the RSA key, in each form that somebody might have."""
    public = private_key().public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, pem.strip(), der, json.dumps(jwk()).encode(), b""):
        signed = f"{part({'alg': 'HS256', 'kid': 'one', 'typ': 'JWT'})}.{part(ISSUER.claims())}"
        signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        assert "algorithm" in await refusal(f"{signed}.{part(signature)}")


async def test_a_symmetric_key_in_the_set_is_no_key() -> None:
    keys = jwks({"kty": "oct", "kid": "one", "k": part(b"k" * 32), "alg": "HS256"})
    token = jwt.encode(ISSUER.claims(), b"k" * 32, "HS256", {"kid": "one"})
    assert "algorithm" in await refusal(token, way_for(keys))


async def test_a_key_signs_with_nothing_but_what_it_is_for() -> None:
    """The header can't choose: PS256 with a key that says RS256, ES256 with one of another curve."""
    reason = "the token is signed with a key that the issuer does not have"
    assert await refusal(ISSUER.token("PS256"), way_for(jwks(jwk(alg="RS256")))) == reason
    token = ISSUER.token("ES256", "one", "P-256")
    assert await refusal(token, way_for(jwks(jwk("one", "P-384")))) == reason


async def test_another_key_of_the_same_name_is_not_the_issuers() -> None:
    token = ISSUER.token(name="mine", headers={"kid": "one"})
    assert await refusal(token) == "the token's signature is not the issuer's"


async def test_a_key_that_comes_with_the_token_is_not_believed() -> None:
    """RFC 7515 §4.1.2, §4.1.3, §4.1.5: `jku`, `jwk` and `x5u` say where a key is; who wrote the token wrote them."""
    async with open_issuer() as evil:
        evil.keys = jwks(jwk("mine"))
        assert evil.stub is not None
        for header in ({"jwk": jwk("mine")}, {"jku": f"{evil.url}/jwks"}, {"x5u": f"{evil.url}/jwks"}):
            token = ISSUER.token(name="mine", headers={"kid": "mine", **header})
            assert await refusal(token) == "the token is signed with a key that the issuer does not have"
        assert evil.stub.connections == 0


@pytest.mark.parametrize(
    "key_id", ["../../jwks", "/etc/passwd", "one\0", "ONE", "one ", "", "' OR 1=1", "x" * 5000, "\ud800"]
)
async def test_the_name_of_a_key_is_a_name_and_nothing_else(key_id: str) -> None:
    reason = await refusal(forged({"alg": "RS256", "kid": key_id}))
    assert reason == "the token is signed with a key that the issuer does not have"


@pytest.mark.parametrize("key_id", [None, 7, ["one"], {"one": 1}, True])
async def test_the_name_of_a_key_is_a_string(key_id: object) -> None:
    assert await refusal(forged({"alg": "RS256", "kid": key_id})) == "this is no token that could be read"


async def test_a_token_that_names_no_key_is_good_where_there_is_only_one() -> None:
    token = ISSUER.token(headers={})
    await let_in(token)
    assert "key" in await refusal(token, way_for(jwks(jwk("one"), jwk("two"))))


@pytest.mark.parametrize("crit", [["b64"], ["exp"], [], "b64", ["nonsense"]])
async def test_what_a_token_says_is_critical_is_understood_or_the_token_refused(crit: object) -> None:
    await refusal(forged({"alg": "RS256", "kid": "one", "crit": crit}))
    await refusal(forged({"alg": "RS256", "kid": "one", "b64": False, "crit": ["b64"]}))


async def test_a_token_whose_text_was_changed_is_refused() -> None:
    header, _, signature = ISSUER.token().split(".")
    assert "signature" in await refusal(f"{header}.{part(ISSUER.claims(sub='root'))}.{signature}")


async def test_a_key_that_is_too_short_is_no_key() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    keys = jwks({**json.loads(RSAAlgorithm.to_jwk(weak.public_key())), "kid": "one"})
    keys["keys"][0].pop("key_ops", None)
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = jwt.encode(ISSUER.claims(), weak, "RS256", {"kid": "one"})
    assert await refusal(token, way_for(keys)) == "the token is not valid"


@pytest.mark.parametrize(
    "make",
    [
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token + "=",
        lambda token: token + "A",
        lambda token: token.replace(".", "..", 1),
        lambda token: token.rpartition(".")[0],
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: "." + token,
        lambda token: token + "." + token,
        lambda token: f"'{token}'",
        lambda token: token + "x" * 17_000,
        lambda token: f"e{'y' * 17_000}.e30.x",
        lambda token: "sk-key",
        lambda token: "..",
        lambda token: f"{part(b'{' * 8000)}.e30.x",
        lambda token: f"{part([])}.e30.x",
        lambda token: f"{part({'alg': 'RS256'})}.{part([])}.x",
    ],
)
async def test_a_token_that_was_bent_is_refused(make: Callable[[str], str]) -> None:
    await refusal(make(ISSUER.token()))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(
    header=st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]), JSON | st.sampled_from(["ES256", "one"])
    ),
    claims=st.dictionaries(st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "scope", "scp"]), JSON),
)
def test_a_token_of_any_shape_is_let_in_or_refused_even_if_the_issuer_signs_it(
    header: dict[str, Any], claims: dict[str, Any]
) -> None:
    payload = json.dumps({**ISSUER.claims(), **claims}).encode()
    text = f"{part({'alg': 'ES256', 'kid': 'one', **header})}.{part(payload)}"
    der = jwt.get_algorithm_by_name("ES256").sign(text.encode(), private_key("one", "P-256"))
    way = way_for(jwks(jwk("one", "P-256")))

    async def run() -> None:
        with suppress(AuthenticationError):
            assert await way.authenticate(bearer(f"{text}.{part(der)}")) is not None

    trio.run(run)


# The issuer


async def test_where_the_keys_can_not_be_had_nobody_is_let_in_and_nobody_is_refused() -> None:
    async def fetch() -> KeySet:
        raise HttpClientError("down")

    way = TokenAuth(ISSUER.url, [AUDIENCE], [], IssuerKeys(fetch))
    with pytest.raises(AuthenticationUnavailable):
        await way.authenticate(bearer(ISSUER.token()))
