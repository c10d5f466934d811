"""Every name that the package offers is used by an example."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import trioproxy

EXAMPLES = [
    ast.parse(path.read_text()) for path in Path(__file__).parent.glob("test_*.py") if path.name != Path(__file__).name
]
PROGRAMS = [
    ast.parse(node.value)
    for example in EXAMPLES
    for node in ast.walk(example)
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("\nimport ")
]
IMPORTED = {
    alias.name
    for example in EXAMPLES + PROGRAMS
    for node in ast.walk(example)
    if isinstance(node, ast.ImportFrom) and node.module == "trioproxy"
    for alias in node.names
}


@pytest.mark.parametrize("name", trioproxy.__all__)
def test_there_is_an_example_of_each_name(name: str) -> None:
    assert name in IMPORTED, f"no test in tests/library imports {name} from trioproxy"


def test_no_name_is_that_of_a_module() -> None:
    """It would be the module that is imported by that name: an import makes it an attribute of the package."""
    modules = {path.stem for path in Path(trioproxy.__file__).parent.iterdir()}
    assert not modules & set(trioproxy.__all__)
