"""Some members of a message changed, and every other byte left as it is.

Where an id, a token or an era has to be rewritten, the rest of the message is still somebody's own: numbers beyond any
float, escaped surrogates, members that nobody here has heard of, and their order.  So nothing is decoded and encoded again;
what changes is cut out of the text, and its successor put in.

Where an object changes, the white space around its members goes, and nothing else.  Of a member that comes twice both are
changed: which of them counts is up to the reader (RFC 8259 §4), and none must find the old one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final, TypeAlias, cast

from .json_text import decode, scan, skip_space

Path: TypeAlias = tuple[str | int, ...]
"""Where a value is, from the root of the message: names of members, and indices of elements."""


class Remove(Enum):
    """The type of `REMOVE`."""

    REMOVE = "remove"


REMOVE: Final = Remove.REMOVE
"""In the place of a value: the member, or the element, goes."""

_Tree: TypeAlias = "dict[str | int, bytes | Remove | _Tree]"


def splice(raw: bytes, edits: Mapping[Path, bytes | Remove]) -> bytes:
    """Return the message `raw` with the value at each path replaced by the given JSON, or removed.

    A member that is not there is added, with the objects around it; elements are only changed where they are.  The path of
    one edit must not lead through another's.

    Raises:
      ParseError: `raw` is not JSON.
    """
    text = decode(raw)
    start = skip_space(text, 0)
    new, end = _edit(text, start, _grow(edits))
    return (text[:start] + new + text[end:]).encode()


def cut_out(raw: bytes, path: Path) -> bytes | None:
    """Return the bytes of the value at `path`, None where there is none.

    Raises:
      ParseError: `raw` is not JSON.
    """
    text = decode(raw)
    start, end = skip_space(text, 0), len(text)
    for step in path:
        found = None
        for name, value_start, value_end in _values(text, start):
            if name == step:
                found = value_start, value_end
        if found is None:
            return None
        start, end = found
    return text[start:end].rstrip(" \t\r\n").encode()


def _grow(edits: Mapping[Path, bytes | Remove]) -> _Tree:
    """Return the edits as a tree, so that the text is walked once."""
    root: _Tree = {}
    for path, value in edits.items():
        branch = root
        for step in path[:-1]:
            branch = cast(_Tree, branch.setdefault(step, {}))
        branch[path[-1]] = value
    return root


def _edit(text: str, at: int, tree: _Tree) -> tuple[str, int]:
    """Return what the value at `at` becomes, and where it ends now."""
    opening = text[at : at + 1]
    if opening not in ("{", "["):
        # What is to change would be in an object, and there is none.
        return _build(tree), scan(text, at)[1]
    members: list[str] = []
    names: set[str | int] = set()
    index = 0
    end = skip_space(text, at + 1)
    while text[end : end + 1] not in ("}", "]"):
        start = skip_space(text, end + 1) if index else end
        name, value_start = _read_name(text, start) if opening == "{" else (index, start)
        edit = tree.get(name)
        if isinstance(edit, dict):
            new, end = _edit(text, value_start, edit)
            members.append(text[start:value_start] + new)
        else:
            end = scan(text, value_start)[1]
            if edit is None:
                members.append(text[start:end])
            elif isinstance(edit, bytes):
                members.append(text[start:value_start] + edit.decode())
        names.add(name)
        index += 1
        end = skip_space(text, end)
    if opening == "{":
        members += (member for name, edit in tree.items() if name not in names for member in _new_members(name, edit))
    return opening + ",".join(members) + text[end], end + 1


def _values(text: str, at: int) -> Iterator[tuple[str | int, int, int]]:
    """Yield the name or index of each value in the object or array at `at`, and where the value starts and ends."""
    opening = text[at : at + 1]
    if opening not in ("{", "["):
        return
    index = 0
    end = skip_space(text, at + 1)
    while text[end : end + 1] not in ("}", "]"):
        start = skip_space(text, end + 1) if index else end
        name, value_start = _read_name(text, start) if opening == "{" else (index, start)
        end = scan(text, value_start)[1]
        yield name, value_start, end
        end = skip_space(text, end)
        index += 1


def _read_name(text: str, at: int) -> tuple[str, int]:
    """Return the name of the member that begins at `at`, and where its value begins."""
    name, end = scan(text, at)
    return name, skip_space(text, skip_space(text, end) + 1)


def _build(tree: _Tree) -> str:
    return "{" + ",".join(member for name, edit in tree.items() for member in _new_members(name, edit)) + "}"


def _new_members(name: str | int, edit: bytes | Remove | _Tree) -> list[str]:
    """Return the member that an edit adds; none where it removes what isn't there."""
    if edit is REMOVE or isinstance(name, int):
        return []
    value = edit.decode() if isinstance(edit, bytes) else _build(edit)
    if not isinstance(edit, bytes) and value == "{}":
        return []
    return [f"{json.dumps(name)}:{value}"]
