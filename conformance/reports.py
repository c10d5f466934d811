"""Verdicts and sentences, for a terminal, for a program, for a build, and for a page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final
from xml.etree import ElementTree

from .catalogue import Entry, entries_of, sentences_behind
from .trial import CHECKS, Verdict

FORMATS: Final = ("text", "json", "junit", "markdown")
LIST_FORMATS: Final = ("text", "json", "markdown")
_EVIDENCE: Final = 12
"""Lines of a transcript that a table shows: the last ones, which led to the verdict."""


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many passed, in a line."""
    counted = Counter(verdict.outcome for verdict in verdicts)
    words = {
        "passed": "passed",
        "failed": "failed (MUST)",
        "warning": "not as they should be (SHOULD)",
        "skipped": "skipped",
    }
    return ", ".join(f"{counted[outcome]} {word}" for outcome, word in words.items())  # type: ignore[index]


def row(verdict: Verdict) -> str:
    """One verdict, in as many lines as it takes to believe it."""
    lines = [f"{verdict.outcome:8} {verdict.check}"]
    if verdict.outcome == "skipped":
        lines[0] += f"  ({verdict.came})"
    elif verdict.outcome != "passed":
        lines += [f"    expected  {verdict.expected}", f"    came      {verdict.came}"]
        for entry in sentences_behind(verdict.check, verdict.revision):
            lines.append(f"    {entry.level:8}  {citation(entry, verdict.revision)}: {entry.sentence.text}")
        lines += [f"      {line}" for line in verdict.transcript[-_EVIDENCE:]]
    return "\n".join(lines)


def citation(entry: Entry, revision: str) -> str:
    """Where a sentence stands."""
    section = f" §{entry.sentence.section}" if entry.sentence.section else ""
    return f"{revision}, {entry.sentence.page}{section}"


def as_json(verdicts: Sequence[Verdict]) -> str:
    """Every verdict with its sentences and its evidence."""
    return json.dumps({"verdicts": [_verdict(verdict) for verdict in verdicts]}, ensure_ascii=False, indent=2)


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "check": verdict.check,
        "about": CHECKS[verdict.check].about,
        "revision": verdict.revision,
        "level": verdict.level,
        "outcome": verdict.outcome,
        "seconds": round(verdict.seconds, 3),
        "expected": verdict.expected,
        "came": verdict.came,
        "sentences": [
            {"page": entry.sentence.page, "section": entry.sentence.section, "text": entry.sentence.text}
            for entry in sentences_behind(verdict.check, verdict.revision)
        ],
        "transcript": list(verdict.transcript) if verdict.outcome in ("failed", "warning") else [],
    }


def as_junit(verdicts: Sequence[Verdict]) -> str:
    """A suite a revision.  JUnit knows no warnings: what SHOULD be and is not passes there, and says so in its output."""
    suites = ElementTree.Element("testsuites", name="MCP conformance")
    for revision, own in _by_revision(verdicts):
        failures = sum(verdict.outcome == "failed" for verdict in own)
        skipped = sum(verdict.outcome == "skipped" for verdict in own)
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=revision,
            tests=str(len(own)),
            failures=str(failures),
            skipped=str(skipped),
            time=f"{sum(verdict.seconds for verdict in own):.3f}",
        )
        for verdict in own:
            area, _, name = verdict.check.partition(".")
            case = ElementTree.SubElement(suite, "testcase", classname=area, name=name, time=f"{verdict.seconds:.3f}")
            if verdict.outcome == "failed":
                failure = ElementTree.SubElement(case, "failure", message=_printable(f"expected {verdict.expected}"))
                failure.text = _printable(row(verdict))
            elif verdict.outcome == "skipped":
                ElementTree.SubElement(case, "skipped", message=_printable(verdict.came))
            elif verdict.outcome == "warning":
                ElementTree.SubElement(case, "system-out").text = _printable(row(verdict))
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode")


def _printable(text: str) -> str:
    """A text as XML can hold it: it has no way to write most control characters."""
    return "".join(one if one in "\n\t" or (one >= " " and one not in "\ufffe\uffff") else "\ufffd" for one in text)


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """A table a revision, and below it what did not pass."""
    parts = [f"{summary(verdicts)}\n"]
    for revision, own in _by_revision(verdicts):
        parts.append(f"## {revision}\n\n| verdict | | check | what it sees |\n|---|---|---|---|")
        parts += [
            f"| {verdict.outcome} | {verdict.level} | `{verdict.check}` | {_cell(CHECKS[verdict.check].about)} |"
            for verdict in own
        ]
        bad = [verdict for verdict in own if verdict.outcome in ("failed", "warning")]
        parts += [f"\n```\n{row(verdict)}\n```" for verdict in bad]
        parts.append("")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _by_revision(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, list[Verdict]]]:
    for revision in dict.fromkeys(verdict.revision for verdict in verdicts):
        yield revision, [verdict for verdict in verdicts if verdict.revision == revision]


# --- The catalogue


def list_sentences(revisions: Sequence[str], form: str, *, everybody: bool = False) -> str:
    """Every sentence of some revisions, with its checks or the reason why it has none.

    Args:
      form: one of `LIST_FORMATS`.
      everybody: those that oblige only clients or authorization servers, too.
    """
    found = {revision: [e for e in entries_of(revision) if everybody or e.is_ours] for revision in revisions}
    if form == "json":
        value = {revision: [_entry(entry) for entry in own] for revision, own in found.items()}
        return json.dumps(value, ensure_ascii=False, indent=2)
    parts = []
    for revision, own in found.items():
        checked = sum(bool(entry.checks) for entry in own)
        count = f"{len(own)} sentences, {checked} of them checked"
        if form == "markdown":
            parts.append(f"## {revision}: {count}\n\n| | where | sentence | by, or why not |\n|---|---|---|---|")
            parts += [
                f"| {e.level} | {_cell(f'{e.sentence.page} {e.sentence.section}')} | {_cell(e.sentence.text)} | {_fate(e)} |"
                for e in own
            ]
            parts.append("")
            continue
        parts.append(f"{revision}: {count}\n")
        place = ""
        for entry in own:
            if place != (place := citation(entry, revision)):
                parts.append(f"  {place}")
            parts.append(f"    {entry.level:6}  {entry.sentence.text}\n            {_fate(entry)}")
        parts.append("")
    return "\n".join(parts)


def _fate(entry: Entry) -> str:
    if entry.checks:
        return f"→ {', '.join(entry.checks)}"
    return f"- {entry.reason or f'obliges the {entry.who}'}"


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "page": entry.sentence.page,
        "section": entry.sentence.section,
        "text": entry.sentence.text,
        "level": entry.level,
        "who": entry.who,
        "checks": list(entry.checks),
        "reason": entry.reason,
    }
