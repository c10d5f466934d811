"""Which announcements are about what was subscribed to."""

from __future__ import annotations

import pytest

from trioproxy.protocol.resources import is_within


@pytest.mark.parametrize(
    ("uri", "subscribed", "is_so"),
    [
        ("file:///a", "file:///a", True),
        ("file:///a/b", "file:///a", True),
        ("file:///a?q", "file:///a", True),
        ("file:///a#f", "file:///a", True),
        ("file:///a/b", "file:///a/", True),
        ("file:///ab", "file:///a", False),
        ("file:///a", "file:///a/b", False),
        ("file:///a", "file:///a/", False),
        ("", "", True),
        ("/", "", True),
        ("x", "", False),
    ],
)
def test_what_is_below_a_resource_in_the_hierarchy_is_a_part_of_it(uri: str, subscribed: str, is_so: bool) -> None:
    assert is_within(uri, subscribed) is is_so
