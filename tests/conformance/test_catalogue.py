"""No sentence of the specification that obliges a server is left out, and none is made up."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

import conformance.checks  # noqa: F401
from conformance.catalogue import FOLDER, Entry, entries, entries_of, level_of, sentences_behind
from conformance.catalogue.extract import PAGES, REVISIONS, Sentence, digests, extract
from conformance.trial import CHECKS

SPECIFICATION = os.environ.get("MCP_SPECIFICATION")
"""The folder `docs` of the specification's repository, where there is one to compare with."""


def remembered() -> dict[str, list[str]]:
    found: dict[str, list[str]] = tomllib.loads((FOLDER / "digests.toml").read_text())
    return found


@pytest.mark.parametrize("revision", REVISIONS)
def test_each_sentence_that_was_found_is_in_the_catalogue_and_no_other(revision: str) -> None:
    written = {entry.sentence.digest: entry.sentence.text for entry in entries_of(revision)}
    found = set(remembered()[revision])

    assert found - set(written) == set()
    assert {text for digest, text in written.items() if digest not in found} == set()


@pytest.mark.skipif(SPECIFICATION is None, reason="needs MCP_SPECIFICATION, the docs of the specification")
def test_what_was_found_is_what_the_specification_says() -> None:
    assert digests(Path(str(SPECIFICATION))) == remembered()


@pytest.mark.parametrize("entry", [entry for entry in entries() if entry.is_ours], ids=lambda entry: entry.sentence.digest)
def test_a_sentence_that_obliges_a_server_has_checks_or_a_reason_why_not(entry: Entry) -> None:
    assert bool(entry.checks) != bool(entry.reason), entry.sentence.text
    assert not entry.reason or entry.reason.endswith("."), entry.reason
    assert set(entry.checks) <= set(CHECKS)


def test_what_obliges_others_is_not_checked() -> None:
    assert not [entry.sentence.text for entry in entries() if not entry.is_ours and (entry.checks or entry.reason)]


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_stands_for_a_sentence(name: str) -> None:
    assert any(level_of(name, revision) for revision in REVISIONS)


def test_a_must_makes_a_check_a_must_and_a_should_does_not() -> None:
    name = "posts.a-stream-carries-what-relates-to-its-request"

    assert {entry.level for entry in sentences_behind(name, "2025-11-25")} == {"SHOULD"}
    assert level_of(name, "2025-11-25") == "SHOULD"
    assert level_of(name, "2026-07-28") == "MUST"
    assert level_of(name, "2024-11-05") is None


def test_each_page_has_sentences() -> None:
    for revision, pages in PAGES.items():
        assert {entry.sentence.page for entry in entries_of(revision)} == set(pages)


# --- What counts as a sentence


def test_a_sentence_is_found_by_its_word_and_knows_its_heading() -> None:
    page = """\
---
title: A page that MUST not count
---

# Clients

They may. Servers **MUST** [answer](/x),
e.g. at once. So be it.

## Servers

They `SHOULD NOT` sleep.
"""

    assert extract("p", page) == [
        Sentence("p", "Clients", "Servers MUST answer, e.g. at once."),
        Sentence("p", "Servers", "They SHOULD NOT sleep."),
    ]


def test_a_list_belongs_to_the_sentence_that_opens_it_and_its_items_count_if_they_oblige() -> None:
    page = """\
Receivers **SHOULD**:

- stop, and
- say so
  1. which they **MUST**

Others need not:

- sleep
"""

    assert [sentence.text for sentence in extract("p", page)] == [
        "Receivers SHOULD: • stop, and • say so • which they MUST",
        "which they MUST",
    ]


def test_code_and_diagrams_oblige_nobody() -> None:
    page = """\
```text
This MUST NOT count.
```

| Who | What |
| --- | ---- |
| Server | MUST count |
"""

    assert [sentence.text for sentence in extract("p", page)] == ["Server | MUST count"]
