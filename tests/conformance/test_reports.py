"""Verdicts as they are printed."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from conformance.conversation import REVISIONS
from conformance.reports import as_json, as_junit, as_markdown, list_sentences, row, summary
from conformance.trial import CHECKS, Verdict

PING = "ping.a-ping-is-answered-promptly-with-nothing"
PRIMING = "posts.a-stream-opens-with-a-priming-event"
SENTENCE = "The receiver MUST respond promptly with an empty response:"
VERDICTS = [
    Verdict(PING, "2025-11-25", "MUST", "failed", 0.25, "an empty result", "{'a': '\x07|'}", ("> POST /mcp", "< 200")),
    Verdict(PRIMING, "2025-11-25", "SHOULD", "warning", 0.5, "an event", "none"),
    Verdict("progress.progress-increases", "2025-11-25", "MUST", "skipped", came="needs a tool"),
    Verdict(PING, "2025-06-18", "MUST", "passed", 0.125),
]


def test_a_row_says_what_was_expected_what_came_and_which_sentence_wants_it() -> None:
    assert row(VERDICTS[0]).splitlines() == [
        f"failed   {PING}",
        "    expected  an empty result",
        "    came      {'a': '\x07|'}",
        (
            "    MUST      2025-11-25, basic/utilities/ping §Behavior Requirements: "
            "The receiver MUST respond promptly with an empty response:"
        ),
        "      > POST /mcp",
        "      < 200",
    ]
    assert row(VERDICTS[2]) == "skipped  progress.progress-increases  (needs a tool)"
    assert row(VERDICTS[3]) == f"passed   {PING}"


def test_the_summary_counts() -> None:
    assert summary(VERDICTS) == "1 passed, 1 failed (MUST), 1 not as they should be (SHOULD), 1 skipped"


def test_json_has_every_verdict_with_its_sentences() -> None:
    first, *_, last = json.loads(as_json(VERDICTS))["verdicts"]

    assert first["about"] == CHECKS[PING].about
    assert first["sentences"][0]["text"].startswith("The receiver MUST respond")
    assert first["transcript"] == ["> POST /mcp", "< 200"]
    assert (last["outcome"], last["transcript"]) == ("passed", [])


def test_junit_is_xml_whatever_came_and_counts_a_should_as_passed() -> None:
    suites = ElementTree.fromstring(as_junit(VERDICTS))

    assert [(suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("skipped")) for suite in suites] == [
        ("2025-11-25", "3", "1", "1"),
        ("2025-06-18", "1", "0", "0"),
    ]
    cases = suites.findall(".//testcase")
    assert [[child.tag for child in case] for case in cases] == [["failure"], ["system-out"], ["skipped"], []]


def test_markdown_has_a_table_for_each_revision() -> None:
    lines = as_markdown(VERDICTS).splitlines()

    assert [line for line in lines if line.startswith("## ")] == ["## 2025-11-25", "## 2025-06-18"]
    assert f"| failed | MUST | `{PING}` | {CHECKS[PING].about} |" in lines


def test_the_list_says_of_each_sentence_what_becomes_of_it() -> None:
    listed = json.loads(list_sentences(REVISIONS, "json"))

    assert set(listed) == set(REVISIONS)
    assert all(bool(entry["checks"]) != bool(entry["reason"]) for own in listed.values() for entry in own)


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_the_list_can_be_read(form: str) -> None:
    listed = list_sentences(["2025-11-25"], form)

    assert "The receiver MUST respond promptly" in listed
    assert PING in listed
    assert "Clients SHOULD support stdio" not in listed
    assert "Clients SHOULD support stdio" in list_sentences(["2025-11-25"], form, everybody=True)
