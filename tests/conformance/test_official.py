"""Which official scenarios are run, and how what they leave behind is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.official_outcomes import (
    EXPECTED_FAILURES,
    Outcome,
    Problem,
    excuse,
    find_stale,
    judge,
    read_expected,
)
from conformance.official_suites import Scenario, Suite, parse_list

POLLING = Scenario("server-sse-polling")


def check(status: str, check_id: str = "server-sse-retry-field", **more: Any) -> dict[str, Any]:
    return {"id": check_id, "status": status, **more}


def test_the_list_gives_server_scenarios_wherever_it_mentions_them() -> None:
    printed = """\
Required for 2025-11-25 (3 scenarios, frozen; run at the 2025-11-25 wire):

Server scenarios (test against a server):
  - ping
  - tools-list [2025-06-18,2025-11-25]

Client scenarios (test against a client):
  - initialize

Run and reported, but never scored:
  pending (2):
    - auth/dpop [client]
    - server-sse-polling [server]
"""

    assert parse_list(printed) == [
        Scenario("ping"),
        Scenario("tools-list"),
        Scenario("server-sse-polling", required=False),
    ]


def test_scenarios_of_extensions_are_not_run() -> None:
    printed = """\
Server scenarios (test against a server):
  - ping

Run and reported, but never scored:
  extension (2):
    - auth/dpop [client]
    - tasks-lifecycle [server]
  pending (1):
    - http-header-validation [server]
"""

    assert parse_list(printed) == [Scenario("ping"), Scenario("http-header-validation", required=False)]


LISTED = """\
Server scenarios (test against a server):
  - ping

Client scenarios (test against a client):
  - initialize
  - auth/scope-step-up

Run and reported, but never scored:
  extension (2):
    - auth/dpop [client]
    - auth/client-credentials-basic [client]
  added-after-release (1):
    - json-schema-2020-12-preservation [client]
"""


def test_a_suite_for_clients_has_the_client_scenarios_and_those_extensions_that_we_have() -> None:
    suite = Suite("clients", "1.0.0", "legacy", "client", extensions=("auth/client-credentials-basic",))

    assert suite.select(LISTED) == [
        Scenario("initialize"),
        Scenario("auth/scope-step-up"),
        Scenario("auth/client-credentials-basic", required=False),
        Scenario("json-schema-2020-12-preservation", required=False),
    ]


def test_a_suite_leaves_out_what_another_one_runs() -> None:
    suite = Suite("clients", "1.0.0", "legacy", "client", leaves_out="auth/")

    assert [scenario.name for scenario in suite.select(LISTED)] == ["initialize", "json-schema-2020-12-preservation"]


def test_a_client_that_failed_is_a_problem_though_all_checks_are_well() -> None:
    outcome = judge(POLLING, [check("SUCCESS")], 0.5, "the host failed: no such tool")

    assert outcome.unexpected == (Problem(None, "the host failed: no such tool"),)


def test_of_a_client_that_failed_the_checks_say_more() -> None:
    outcome = judge(POLLING, [check("FAILURE", errorMessage="no retry")], 0.5, "the host failed: no such tool")

    assert outcome.unexpected == (Problem("server-sse-retry-field", "no retry"),)


def test_a_warning_is_as_much_a_problem_as_a_failure() -> None:
    checks = [check("SUCCESS"), check("INFO"), check("WARNING", errorMessage="no retry"), check("FAILURE", "other")]

    outcome = judge(POLLING, checks, 0.5)

    assert outcome.passed == 1
    assert outcome.unexpected == (Problem("server-sse-retry-field", "no retry"), Problem("other", "(no message)"))


@pytest.mark.parametrize("checks", [[], [check("INFO"), check("SKIPPED")]], ids=["no checks", "no verdict"])
def test_a_scenario_in_which_nothing_was_checked_has_proved_nothing(checks: list[dict[str, Any]]) -> None:
    assert judge(POLLING, checks, 0.5).unexpected


@pytest.mark.parametrize("entry", ["server-sse-polling", "server-sse-polling:server-sse-retry-field"])
def test_a_failure_that_was_expected_is_excused_by_scenario_or_by_check(entry: str) -> None:
    outcome = excuse(judge(POLLING, [check("FAILURE")], 0.5), {entry: "a reason"})

    assert outcome.unexpected == ()
    assert list(outcome.excused.values()) == ["a reason"]


def test_excusing_one_check_leaves_the_others_of_its_scenario_to_fail() -> None:
    judged = judge(POLLING, [check("FAILURE"), check("FAILURE", "other", errorMessage="unlike")], 0.5)

    outcome = excuse(judged, {"server-sse-polling:server-sse-retry-field": "a reason"})

    assert outcome.unexpected == (Problem("other", "unlike"),)


def test_an_expected_failure_that_did_not_happen_is_stale_unless_its_scenario_was_not_run() -> None:
    expected = {"ping": "a reason", "ping:ping": "a reason", "never-run": "a reason"}

    assert find_stale(expected, [Outcome(Scenario("ping"), 1, 0.5)]) == ["ping", "ping:ping"]


def test_an_expected_failure_needs_a_reason(tmp_path: Path) -> None:
    listed = tmp_path / "expected.toml"
    listed.write_text('[stable]\nping = ""\n')

    with pytest.raises(ValueError, match="reason"):
        read_expected(listed)


def test_our_own_list_of_expected_failures_can_be_read() -> None:
    read_expected(EXPECTED_FAILURES)
