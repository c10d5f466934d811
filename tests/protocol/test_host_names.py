"""The name of a machine is all of what a header holds, or none of it."""

from __future__ import annotations

import pytest

from trioproxy.protocol.host_names import host_name, origin_name


@pytest.mark.parametrize(
    ("text", "name"), [("A.b:1", "a.b"), ("[::1]:1", "::1"), ("a.", "a"), ("", ""), ("a:b", ""), ("a@b", "")]
)
def test_a_name_is_compared_without_its_port_and_in_lower_case(text: str, name: str) -> None:
    assert host_name(text) == name
    assert origin_name(f"https://{text}") == name
    assert origin_name(text) == ""
