"""Each check passes on a server that does all things right, and does not on one that does its one thing wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from conformance.catalogue import level_of
from conformance.checking import ORDER, Endpoint
from conformance.conversation import MODERN, REVISIONS
from conformance.survey import survey
from conformance.trial import CHECKS, Trial, Verdict, run_check
from conformance.wire import Address, Wire, parse_address

from .wrong import World
from .wrong.world import TOKEN

HTTP = "http://127.0.0.1:8080/mcp"
SSE = "http://127.0.0.1:8080/sse"
LIMIT = 20.0
PATIENCE = 0.5

SHOW_IN_SURVEY = ("param-headers.names-in-", "param-headers.only-", "discovery.extensions-")
"""Faults of what a survey finds, which have to be there before it is made."""
ONLY_MODERN = (
    "envelope.get-and-delete-are-not-allowed",
    "envelope.initialize-is-answered-with-the-versions-that-are-supported",
    "headers.a-missing-version-is-refused",
)
"""Checks of a server that speaks nothing else."""


@asynccontextmanager
async def open_world(**what: object) -> AsyncIterator[tuple[World, Endpoint]]:
    """A server at the other end of memory streams."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, **what)  # type: ignore[arg-type]

        async def dial(address: Address) -> trio.abc.Stream:
            if address.host != "127.0.0.1" and not world.wrong("security.a-local-server-is-bound-to-localhost-only"):
                raise ConnectionRefusedError(address.host)
            ours, theirs = memory_stream_pair()
            nursery.start_soon(world.serve, theirs)
            return ours

        headers = {"authorization": TOKEN} if world.is_guarded else {}
        yield world, Endpoint(*(Wire(parse_address(url), headers, dial) for url in (HTTP, SSE)))
        nursery.cancel_scope.cancel()


async def try_check(name: str, revision: str, *, fault: bool) -> Verdict:
    """One check in one revision, on a server with or without its fault."""
    guarded = name.startswith("authorization.") or name == "sessions.a-session-is-no-authentication"
    speaks = (MODERN,) if name in ONLY_MODERN else REVISIONS
    async with open_world(is_guarded=guarded, speaks=speaks) as (world, endpoint):
        wire = endpoint.wire(revision)
        assert wire is not None
        if fault and name.startswith(SHOW_IN_SURVEY):
            world.faults.add(name)
        found = await survey(wire, revision, speaks)
        if fault:
            world.faults.add(name)
        trial = Trial(wire, Wire(wire.address, {}, wire.dial), found, PATIENCE)
        return await run_check(CHECKS[name], level_of(name, revision) or "MUST", trial, LIMIT)
    raise AssertionError


PAIRS = [(name, revision) for name in CHECKS for revision in ORDER if level_of(name, revision)]


@pytest.mark.parametrize(("name", "revision"), PAIRS, ids=[f"{name}-{revision}" for name, revision in PAIRS])
async def test_a_server_that_does_it_right_passes(name: str, revision: str, autojump_clock: MockClock) -> None:
    verdict = await try_check(name, revision, fault=False)

    assert verdict.outcome == "passed", verdict


@pytest.mark.parametrize(("name", "revision"), PAIRS, ids=[f"{name}-{revision}" for name, revision in PAIRS])
async def test_a_server_that_does_it_wrong_does_not(name: str, revision: str, autojump_clock: MockClock) -> None:
    verdict = await try_check(name, revision, fault=True)

    assert verdict.outcome == ("failed" if level_of(name, revision) == "MUST" else "warning"), verdict
    # The server did something wrong; the check did not break on it.
    assert "Traceback" not in verdict.came
    assert verdict.expected


async def test_who_lets_in_by_a_key_of_its_own_need_not_speak_of_tokens(autojump_clock: MockClock) -> None:
    name = "authorization.the-metadata-can-be-found"
    async with open_world(is_guarded=True, faults={name}) as (_, endpoint):
        assert endpoint.http is not None
        found = await survey(endpoint.http, "2025-11-25", REVISIONS)
        own = Wire(endpoint.http.address, {"X-Api-Key": "a key"}, endpoint.http.dial)
        trial = Trial(own, Wire(own.address, {}, own.dial), found, PATIENCE)
        verdict = await run_check(CHECKS[name], "MUST", trial, LIMIT)

    assert (verdict.outcome, verdict.came) == ("skipped", "the endpoint lets in by x-api-key, a strategy of its own")


async def test_a_tool_that_fails_in_its_own_words_has_not_named_what_its_client_lacks(autojump_clock: MockClock) -> None:
    name = "envelope.a-capability-that-is-missing-is-named"
    async with open_world(speaks=(MODERN,)) as (world, endpoint):
        assert endpoint.http is not None
        found = await survey(endpoint.http, MODERN, (MODERN,))
        world.offers.gives_up = True
        verdict = await run_check(CHECKS[name], "MUST", Trial(endpoint.http, endpoint.http, found, PATIENCE), LIMIT)

    assert verdict.outcome == "failed"
