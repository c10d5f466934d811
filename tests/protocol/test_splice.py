import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.protocol.errors import ParseError
from trioproxy.protocol.splice import REMOVE, Path, Remove, cut_out, splice

CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"n":1e999,"s":"\\ud800"}}}'


def test_a_value_is_replaced_and_the_rest_keeps_its_bytes() -> None:
    assert splice(CALL, {("id",): b'"x"'}) == CALL.replace(b'"id":1', b'"id":"x"')


def test_a_value_deep_inside_is_replaced() -> None:
    assert splice(CALL, {("params", "arguments", "n"): b"2"}) == CALL.replace(b"1e999", b"2")


def test_several_edits_are_made_in_one_walk() -> None:
    edits: dict[Path, bytes | Remove] = {
        ("id",): b"7",
        ("params", "name"): b'"b"',
        ("params", "arguments", "s"): REMOVE,
        ("more",): b"[1]",
    }
    assert splice(CALL, edits) == (
        b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"b","arguments":{"n":1e999}},"more":[1]}'
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"a":1,"b":2,"c":3}', b'{"a":1,"c":3}'),
        (b'{"b":2,"c":3}', b'{"c":3}'),
        (b'{"a":1,"b":2}', b'{"a":1}'),
        (b'{"b":2}', b"{}"),
        (b'{"a":1}', b'{"a":1}'),
        (b"{}", b"{}"),
        (b'{"b":1,"a":2,"b":3}', b'{"a":2}'),
        (b'{"\\u0062":1,"a":2}', b'{"a":2}'),
    ],
)
def test_a_member_is_removed_wherever_it_stands_and_however_it_is_spelled(before: bytes, after: bytes) -> None:
    assert splice(before, {("b",): REMOVE}) == after


def test_a_member_that_comes_twice_is_changed_twice() -> None:
    assert splice(b'{"id":1,"id":2}', {("id",): b"3"}) == b'{"id":3,"id":3}'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"a":1}', b'{"a":1,"p":{"m":{"k":true}}}'),
        (b'{"p":{}}', b'{"p":{"m":{"k":true}}}'),
        (b'{"p":{"m":null}}', b'{"p":{"m":{"k":true}}}'),
        (b'{"p":{"m":{"x":1}}}', b'{"p":{"m":{"x":1,"k":true}}}'),
    ],
)
def test_what_is_not_there_is_added_with_the_objects_around_it(before: bytes, after: bytes) -> None:
    assert splice(before, {("p", "m", "k"): b"true"}) == after


def test_removing_what_is_not_there_adds_nothing_around_it() -> None:
    assert splice(b'{"a":1}', {("p", "m", "k"): REMOVE}) == b'{"a":1}'


def test_elements_are_changed_by_their_index_and_none_is_added() -> None:
    raw = b'{"tools":[{"name":"a","execution":{}},{"name":"b"}]}'
    edits: dict[Path, bytes | Remove] = {("tools", 0, "execution"): REMOVE, ("tools", 1, "x"): b"1", ("tools", 5, "x"): b"1"}
    assert splice(raw, edits) == b'{"tools":[{"name":"a"},{"name":"b","x":1}]}'
    assert splice(b'{"l":[1,2,3]}', {("l", 1): REMOVE}) == b'{"l":[1,3]}'


def test_no_edit_changes_nothing() -> None:
    assert json.loads(splice(CALL, {})) == json.loads(CALL)
    assert b"1e999" in splice(CALL, {})


def test_what_is_not_json_is_an_error() -> None:
    with pytest.raises(ParseError):
        splice(b'{"a":', {("a",): b"1"})


def test_a_value_is_cut_out_with_its_own_bytes() -> None:
    assert cut_out(CALL, ("params", "arguments")) == b'{"n":1e999,"s":"\\ud800"}'
    assert cut_out(b' { "a" : [ 1 , { "b" :  1.50 } ] } ', ("a", 1, "b")) == b"1.50"
    assert cut_out(b'{"a":1}', ("b",)) is None
    assert cut_out(b'{"a":1}', ("a", "b")) is None
    assert cut_out(b" [1] ", ()) == b"[1]"


def test_of_a_member_that_comes_twice_the_last_is_cut_out_since_parsers_take_that() -> None:
    assert cut_out(b'{"a":1,"a":2}', ("a",)) == b"2"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), JSON_VALUES, min_size=1), JSON_VALUES, st.data(), st.sampled_from([None, 1]))
def test_splicing_does_what_changing_the_value_would(
    message: dict[str, object], value: object, data: st.DataObject, indent: int | None
) -> None:
    name = data.draw(st.sampled_from(sorted(message)))
    raw = json.dumps(message, indent=indent).encode()
    assert json.loads(splice(raw, {(name,): json.dumps(value).encode()})) == message | {name: value}
    assert json.loads(cut_out(raw, (name,)) or b"") == message[name]
    del message[name]
    assert json.loads(splice(raw, {(name,): REMOVE})) == message
