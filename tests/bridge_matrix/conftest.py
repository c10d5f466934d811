"""What is shared by all scenes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .remotes import Remotes, open_remotes

pytest.register_assert_rewrite(*(f"{__package__}.{name}" for name in ("scenes", "hosts", "raw_host")))


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """The servers outlive each test."""


@pytest.fixture(scope="package")
def remotes() -> Iterator[Remotes]:
    """What starts servers."""
    with open_remotes() as opened:
        yield opened
