"""What things of several servers are called, and which template a URI is of."""

from __future__ import annotations

import pytest

from trioproxy.protocol.merging.names import matches, prefixed, shown_names


def test_what_only_one_server_has_keeps_its_name() -> None:
    assert shown_names({"a": ["x", "y"], "b": ["z"]}) == {("a", "x"): "x", ("a", "y"): "y", ("b", "z"): "z"}


def test_what_several_have_gets_the_name_of_its_server_in_front_each_of_it() -> None:
    assert shown_names({"a": ["x", "y"], "b": ["x"]}) == {("a", "x"): "a__x", ("a", "y"): "y", ("b", "x"): "b__x"}


def test_a_name_that_comes_twice_from_one_server_is_one() -> None:
    assert shown_names({"a": ["x", "x"], "b": []}) == {("a", "x"): "x"}


def test_a_name_that_is_taken_is_not_given_to_another() -> None:
    lists = {"a": ["x"], "b": ["x", "a__x"], "a__b": ["y"], "c": ["y", "a__b__y", "a__b__y_2"]}
    assert shown_names(lists) == {
        ("a", "x"): "a__x_2",
        ("b", "x"): "b__x",
        ("b", "a__x"): "a__x",
        ("a__b", "y"): "a__b__y_3",
        ("c", "y"): "c__y",
        ("c", "a__b__y"): "a__b__y",
        ("c", "a__b__y_2"): "a__b__y_2",
    }


def test_every_name_is_given_once_whatever_servers_are_called() -> None:
    lists = {"a b": ["x"], "a.b": ["x"], "a_b": ["x"]}
    assert sorted(shown_names(lists).values()) == ["a_b__x", "a_b__x_2", "a_b__x_3"]


def test_a_prefix_has_the_characters_of_a_tools_name() -> None:
    assert prefixed("my server (ü) v1.0", "x.y") == "my_server_____v1_0__x.y"


@pytest.mark.parametrize(
    ("template", "uri", "is_one"),
    [
        ("demo://square/{n}", "demo://square/7", True),
        ("demo://square/{n}", "demo://square/7/8", False),
        ("demo://square/{n}", "demo://squares/7", False),
        ("file:///{+path}", "file:///a/b.txt", True),
        ("file:///{path*}", "file:///a/b.txt", True),
        ("x:{a}-{b}", "x:1-2", True),
        ("x:{a}-{b}", "x:12", False),
        ("x:y{?q,r}", "x:y?q=1&r=2", True),
        ("x:y{?q,r}", "x:y", True),
        ("x:(y)", "x:(y)", True),
        ("x:y", "x:yy", False),
        ("x:{", "x:{", True),
    ],
)
def test_a_uri_is_of_a_template_when_its_literal_parts_are_there(template: str, uri: str, is_one: bool) -> None:
    assert matches(template, uri) is is_one
