"""What differs between the revisions on the wire."""

from __future__ import annotations

import pytest

from trioproxy.protocol.revisions import LEGACY_REVISIONS, MODERN_REVISION, MODERN_REVISIONS, has_batches, has_priming_events


@pytest.mark.parametrize(
    ("revision", "batches", "priming"),
    [
        ("2024-11-05", False, False),
        ("2025-03-26", True, False),
        ("2025-06-18", False, False),
        ("2025-11-25", False, True),
    ],
)
def test_a_revision_has_what_its_specification_says(revision: str, batches: bool, priming: bool) -> None:
    """2025-03-26 brought batches and 2025-06-18 took them out; priming events are of 2025-11-25."""
    assert (has_batches(revision), has_priming_events(revision)) == (batches, priming)


def test_the_four_revisions_with_a_handshake_are_legacy_in_their_order() -> None:
    assert LEGACY_REVISIONS == ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
    assert MODERN_REVISION not in LEGACY_REVISIONS


def test_a_revision_is_of_one_era() -> None:
    assert MODERN_REVISIONS == ("2026-07-28",)
    assert set(MODERN_REVISIONS).isdisjoint(LEGACY_REVISIONS)


@pytest.mark.parametrize("revision", ["2026-01-01", MODERN_REVISION])
def test_a_revision_that_is_yet_to_come_keeps_what_the_last_one_brought(revision: str) -> None:
    assert has_priming_events(revision)
    assert not has_batches(revision)
