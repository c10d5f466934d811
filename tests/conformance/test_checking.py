"""All checks against one endpoint: which of them are run, and what becomes of those that get no answer."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from conformance.checking import Endpoint, EndpointFailed, Limits, run_checks, select
from conformance.conversation import MODERN
from conformance.survey import Recipe, Survey, find_revisions
from conformance.trial import CHECKS, Check, Trial, Verdict, run_check
from conformance.wire import Address, Wire, parse_address

from .test_checks import open_world

LIMITS = Limits(check=5, patience=0.1)


async def test_every_revision_that_is_spoken_is_checked_and_all_hold(autojump_clock: MockClock) -> None:
    async with open_world() as (_, endpoint):
        verdicts = await run_checks(endpoint, limits=Limits(20, 0.1))

    assert {verdict.outcome for verdict in verdicts} == {"passed", "skipped"}
    assert {verdict.revision for verdict in verdicts} == {"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", MODERN}
    assert len(verdicts) == sum(len(select(revision)) for revision in {verdict.revision for verdict in verdicts})


async def test_revisions_and_checks_can_be_chosen_and_are_announced(autojump_clock: MockClock) -> None:
    announced: list[tuple[str, int, int]] = []
    reported: list[Verdict] = []

    async with open_world() as (_, endpoint):
        verdicts = await run_checks(
            endpoint,
            ["2025-06-18", "2024-11-05"],
            ["ping.*", "*.progress-increases"],
            LIMITS,
            report=reported.append,
            announce=lambda *what: announced.append(what),
        )

    assert [(verdict.revision, verdict.check) for verdict in verdicts] == [
        ("2025-06-18", "ping.a-ping-is-answered-promptly-with-nothing"),
        ("2025-06-18", "progress.progress-increases"),
        ("2024-11-05", "ping.a-ping-is-answered-promptly-with-nothing"),
        ("2024-11-05", "progress.progress-increases"),
    ]
    assert reported == verdicts
    assert announced[0] == ("2025-06-18 ping.a-ping-is-answered-promptly-with-nothing", 1, 4)


async def test_only_what_is_agreed_to_counts_as_spoken(autojump_clock: MockClock) -> None:
    async with open_world(speaks=("2025-03-26", "2025-11-25")) as (_, endpoint):
        assert await find_revisions(endpoint.http, None) == ("2025-03-26", "2025-11-25")


async def test_a_revision_that_is_not_spoken_cannot_be_checked(autojump_clock: MockClock) -> None:
    async with open_world(speaks=("2025-11-25",)) as (_, endpoint):
        with pytest.raises(EndpointFailed, match="does not speak 2025-06-18; it speaks 2025-11-25"):
            await run_checks(Endpoint(endpoint.http), ["2025-06-18"], limits=LIMITS)


async def test_a_peer_that_is_not_there_is_no_endpoint(autojump_clock: MockClock) -> None:
    async def dial(address: Address) -> trio.abc.Stream:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(EndpointFailed, match="nobody there"):
        await run_checks(Endpoint(Wire(parse_address("http://h/mcp"), dial=dial)), limits=LIMITS)


# --- One check


def trial_with(dial: object) -> Trial:
    wire = Wire(parse_address("http://h/mcp"), dial=dial)  # type: ignore[arg-type]
    return Trial(wire, wire, Survey("2025-11-25", ("2025-11-25",), {}, {}), 0.1)


async def test_a_peer_that_never_answers_fails_the_check_at_its_limit(autojump_clock: MockClock) -> None:
    kept: list[trio.abc.Stream] = []

    async def dial(address: Address) -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        kept.append(theirs)
        return ours

    check = CHECKS["ping.a-ping-is-answered-promptly-with-nothing"]
    verdict = await run_check(check, "MUST", trial_with(dial), 7.0)

    assert (verdict.outcome, verdict.expected, verdict.seconds) == ("failed", "an end within 7 s", 7.0)
    assert verdict.transcript[0] == "> POST /mcp HTTP/1.1"


async def test_a_peer_that_hangs_up_fails_the_check(autojump_clock: MockClock) -> None:
    async def dial(address: Address) -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        await theirs.aclose()
        return ours

    check = CHECKS["ping.a-ping-is-answered-promptly-with-nothing"]
    verdict = await run_check(check, "SHOULD", trial_with(dial), 7.0)

    assert (verdict.outcome, verdict.expected) == ("warning", "an HTTP response")


async def test_a_check_that_breaks_has_not_passed(autojump_clock: MockClock) -> None:
    async def breaks(trial: Trial) -> None:
        raise KeyError("what came had no such key")

    verdict = await run_check(Check("an.odd-one", "", breaks), "MUST", trial_with(None), 1.0)

    assert verdict.outcome == "failed"
    assert "no such key" in verdict.came


async def test_a_check_whose_tool_is_missing_is_skipped_and_says_so(autojump_clock: MockClock) -> None:
    verdict = await run_check(CHECKS["progress.progress-increases"], "MUST", trial_with(None), 1.0)

    assert (verdict.outcome, verdict.came) == ("skipped", "needs a tool that reports progress")


def test_a_stranger_s_tool_is_called_only_if_it_wants_nothing_and_destroys_nothing() -> None:
    def survey_of(**tool: object) -> Survey:
        return Survey("2025-11-25", (), {}, {"wipe": {"name": "wipe", **tool}})

    assert survey_of(inputSchema={"type": "object"}).find("quick") == Recipe("wipe")
    assert survey_of(inputSchema={"required": ["x"]}).find("quick") is None
    assert survey_of(inputSchema={}, annotations={"destructiveHint": True}).find("quick") is None
    assert survey_of(inputSchema={}, annotations={"destructiveHint": True, "readOnlyHint": True}).find("quick")
