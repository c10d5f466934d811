"""What is said to those without a token (Authorization), as far as it shows without one.

An endpoint that lets anybody in has nothing to show here, and the checks are skipped.  So are those about tokens where one
is let in by something else: "clients and servers MAY negotiate their own custom authentication and authorization
strategies" (Basic §Auth).
"""

from __future__ import annotations

import json
import re
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

from ..conversation import MODERN, Requests, Session, initialize_request
from ..trial import Trial, check
from ..wire import Reply, encode

_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')


def _open(trial: Trial, target: str | None = None, **headers: str) -> AbstractAsyncContextManager[Reply]:
    """The first request of a client that has no token, or (by `headers`) a wrong one."""
    wire = trial.anonymous
    if trial.revision == "2024-11-05":
        return wire.open("GET", {"accept": "text/event-stream", **headers}, target=target)
    if trial.revision == MODERN:
        talk = Requests(wire)
        message = talk.request("server/discover")
        return wire.open("POST", talk.headers(message, **headers), encode(message), target)
    given = Session(wire, trial.revision).headers(**headers)
    return wire.open("POST", given, encode(initialize_request(trial.revision)), target)


async def _challenge(trial: Trial) -> tuple[int, str]:
    async with _open(trial) as reply:
        if reply.status < 400:
            trial.skip("the endpoint asks for no authorization")
        return reply.status, reply.headers.get("www-authenticate", "")


def _excuse(trial: Trial, is_there: bool) -> None:
    """Skip what is missing, if the credentials that the checks were given are no token."""
    names = {name.lower() for name in trial.wire.headers}
    if not is_there and names and "authorization" not in names:
        trial.skip(f"the endpoint lets in by {', '.join(sorted(names))}, a strategy of its own")


def _parameters(challenge: str) -> dict[str, str]:
    return {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(challenge)}


async def _find_metadata(trial: Trial) -> tuple[str, Any]:
    """Where the metadata are, and what is there: by the challenge, else at the well-known paths."""
    _, challenge = await _challenge(trial)
    base = trial.anonymous.address.target.partition("?")[0].rstrip("/")
    places = [urlsplit(url).path for url in [_parameters(challenge).get("resource_metadata", "")] if url]
    places += [f"/.well-known/oauth-protected-resource{base}", "/.well-known/oauth-protected-resource"]
    for place in places:
        async with trial.anonymous.open("GET", {"accept": "application/json"}, target=place) as reply:
            if reply.status == 200:
                try:
                    return place, json.loads(await reply.body())
                except ValueError:
                    return place, None
    return "", None


@check()
async def without_a_token_the_answer_is_401(trial: Trial) -> None:
    """Who has not proven to be authorized is told so with 401."""
    status, _ = await _challenge(trial)
    trial.expect(status == 401, "401 for a request without credentials", status)


@check()
async def an_invalid_token_is_answered_with_401(trial: Trial) -> None:
    """A token that nobody has issued is no better than none."""
    await _challenge(trial)
    async with _open(trial, authorization="Bearer conformance-no-such-token") as reply:
        trial.expect(reply.status == 401, "401 for a token that nobody has issued", reply.status)


@check()
async def a_token_in_the_address_is_not_accepted(trial: Trial) -> None:
    """`?access_token=` gets nobody in."""
    await _challenge(trial)
    target = trial.anonymous.address.target
    joined = f"{target}{'&' if '?' in target else '?'}access_token=conformance-no-such-token"
    async with _open(trial, joined) as reply:
        trial.expect(reply.status in (400, 401), "401 for a token in the address", reply.status)


@check()
async def a_challenge_names_the_metadata(trial: Trial) -> None:
    """A 401 says in WWW-Authenticate where the metadata of the resource are."""
    status, challenge = await _challenge(trial)
    if status != 401:
        trial.skip(f"the refusal is {status} and not 401")
    named = "resource_metadata" in _parameters(challenge)
    _excuse(trial, named)
    trial.expect(named, "WWW-Authenticate: … resource_metadata=…", challenge or "no WWW-Authenticate")


@check()
async def the_metadata_can_be_found(trial: Trial) -> None:
    """The metadata of the resource are where the challenge says, or at a well-known path."""
    place, document = await _find_metadata(trial)
    _excuse(trial, isinstance(document, dict))
    trial.expect(isinstance(document, dict), "an OAuth 2.0 Protected Resource Metadata document", place or "none")


@check()
async def the_metadata_name_an_authorization_server(trial: Trial) -> None:
    """`authorization_servers` has at least one."""
    place, document = await _find_metadata(trial)
    if not isinstance(document, dict):
        trial.skip("there are no metadata")
    servers = document.get("authorization_servers")
    trial.expect(isinstance(servers, list) and bool(servers), f"authorization_servers at {place}", document)


@check()
async def a_challenge_names_the_scopes(trial: Trial) -> None:
    """A 401 says which scopes are needed."""
    status, challenge = await _challenge(trial)
    if status != 401:
        trial.skip(f"the refusal is {status} and not 401")
    _excuse(trial, "scope" in _parameters(challenge))
    trial.expect("scope" in _parameters(challenge), "WWW-Authenticate: … scope=…", challenge or "no WWW-Authenticate")


@check()
async def refresh_tokens_are_not_asked_for(trial: Trial) -> None:
    """`offline_access` is neither among the scopes of the challenge nor among those of the metadata."""
    _, challenge = await _challenge(trial)
    _, document = await _find_metadata(trial)
    supported = document.get("scopes_supported") if isinstance(document, dict) else None
    scopes = [*_parameters(challenge).get("scope", "").split(), *(supported or [])]
    trial.expect("offline_access" not in scopes, "no scope offline_access", scopes)
