"""The rules that hold the house up, as far as they can be read off the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import trioproxy

ROOT = Path(trioproxy.__file__).parent
MODULES = {
    ".".join(("trioproxy", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
PROTOCOL = sorted(name for name in MODULES if name.startswith("trioproxy.protocol"))


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def nodes(node: ast.AST) -> list[ast.AST]:
    """Return a node and all below it, what is there for type checkers only left out."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return []
    return [node, *(below for child in ast.iter_child_nodes(node) for below in nodes(child))]


@cache
def imports(module: str) -> frozenset[str]:
    """Return the modules that a module imports, at its top or later on."""
    found: set[str] = set()
    is_package = MODULES[module].name == "__init__.py"
    for node in nodes(tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = parts[: len(parts) - node.level + is_package] if node.level else []
            origin = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                found.add(f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in MODULES else origin)
    return frozenset(found - {"__future__"})


def reach(module: str) -> frozenset[str]:
    """Return the modules of ours that importing one brings along."""
    found: set[str] = set()
    queue = [module]
    while queue:
        below = [name for name in imports(queue.pop()) if name in MODULES and name not in found]
        found.update(below)
        queue += below
    return frozenset(found)


def test_the_house_is_there() -> None:
    assert "trioproxy.protocol.lines" in PROTOCOL
    assert imports("trioproxy.session") >= {"trio", "trioproxy.protocol.routing", "trioproxy.transport"}
    assert reach("trioproxy.cli") >= {"trioproxy.server", "trioproxy.session", "trioproxy.protocol.lines"}


# The half that never waits


@pytest.mark.parametrize("module", PROTOCOL)
def test_the_protocol_imports_the_standard_library_and_itself(module: str) -> None:
    for name in imports(module):
        assert name in PROTOCOL or name.partition(".")[0] in sys.stdlib_module_names, name


@pytest.mark.parametrize("module", PROTOCOL)
def test_the_protocol_never_waits(module: str) -> None:
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [ast.unparse(node) for node in nodes(tree(module)) if isinstance(node, waiting)]


@pytest.mark.parametrize("module", PROTOCOL)
def test_the_protocol_knows_no_clock_no_chance_no_environment_and_no_input(module: str) -> None:
    banned = {
        "asyncio",
        "datetime",
        "logging",
        "os",
        "random",
        "secrets",
        "select",
        "socket",
        "subprocess",
        "sys",
        "threading",
    }
    assert imports(module).isdisjoint(banned | {"time", "uuid", "signal", "pathlib", "io"})
    called = {node.func.id for node in nodes(tree(module)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert called.isdisjoint({"open", "print", "input"})


# Downwards


def test_no_module_imports_what_imports_it() -> None:
    assert [module for module in MODULES if module in reach(module)] == []


@pytest.mark.parametrize(
    ("module", "unknown"),
    [
        # Sessions know neither HTTP nor SSE nor processes.
        ("session", {"app", "child", "connection", "directory", "endpoints", "exchange", "listener", "protocol.headers"}),
        ("session", {"protocol.sse", "protocol.origins", "server", "cli"}),
        ("transport", {"child", "session", "config"}),
        ("child", {"session", "directory", "transport", "protocol.messages"}),
        ("directory", {"endpoints", "exchange", "app", "listener", "server", "protocol.sse", "protocol.headers"}),
        ("exchange", {"endpoints", "directory", "child", "app", "server"}),
        ("listener", {"endpoints", "directory", "session", "child", "exchange", "server"}),
        ("server", {"cli", "options", "values", "demo"}),
        ("config", {"cli", "options", "values", "server"}),
    ],
)
def test_a_module_knows_nothing_of_what_stands_above_or_beside_it(module: str, unknown: set[str]) -> None:
    assert reach(f"trioproxy.{module}").isdisjoint(f"trioproxy.{name}" for name in unknown)


def test_endpoints_import_neither_children_nor_each_other() -> None:
    endpoints = [module for module in MODULES if module.startswith("trioproxy.endpoints.")]
    assert endpoints
    for module in endpoints:
        assert imports(module).isdisjoint({"trioproxy.child", "trioproxy.transport", *endpoints})


def test_nothing_but_the_command_line_imports_the_command_line() -> None:
    importers = {module for module in MODULES if "trioproxy.cli" in imports(module)}
    assert importers <= {"trioproxy.__main__"}


def test_the_demo_imports_nothing_but_itself_and_the_standard_library() -> None:
    demo = [module for module in MODULES if module.startswith("trioproxy.demo")]
    for module in demo:
        for name in imports(module):
            # The package itself, which is light, has the version.
            assert name in (*demo, "trioproxy") or name.partition(".")[0] in sys.stdlib_module_names, (module, name)


# Prose


@pytest.mark.parametrize("module", MODULES)
def test_a_module_tells_its_story(module: str) -> None:
    docstring = ast.get_docstring(tree(module))
    assert docstring
    assert docstring.splitlines()[0].rstrip().endswith((".", ":", "`", ")", "?"))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_named_for_an_idea(module: str) -> None:
    assert not {"utils", "util", "helpers", "common", "manager", "misc"} & set(module.split("."))


@pytest.mark.parametrize("module", MODULES)
def test_a_public_name_is_explained(module: str) -> None:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module}.{node.name}"


# Weight


def modules_after(program: str) -> set[str]:
    """Return which packages a fresh interpreter has loaded after running `program`."""
    program += "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize("module", ["trioproxy", "trioproxy.demo", "trioproxy.demo.server"])
def test_the_package_and_its_demo_are_light(module: str) -> None:
    """A proxy starts the demo once a session."""
    loaded = modules_after(f"import {module}")
    assert "trioproxy" in loaded
    assert loaded.isdisjoint({"trio", "mcp", "hypercorn", "h11", "pydantic", "anyio", "asyncio", "subprocess", "ssl"})


def test_a_proxy_that_serves_loads_neither_the_sdk_nor_what_the_sdk_loads() -> None:
    """`mcp` costs half a second and 40 MB; it is imported only where it is used."""
    serving = """
import trio
import trioproxy.cli
from trioproxy import ChildConfig, Config, ListenConfig, open_proxy

async def main():
    async with open_proxy(Config(ChildConfig(("cat",)), listen=ListenConfig(port=0))) as proxy:
        await proxy.wait_proven()

trio.run(main)
"""
    loaded = modules_after(serving)
    assert {"trio", "hypercorn", "trioproxy"} <= loaded
    assert loaded.isdisjoint(
        {"mcp", "mcp_types", "pydantic", "pydantic_core", "httpx", "httpx2", "starlette", "anyio", "jsonschema"}
    )


def test_every_name_that_the_package_offers_is_there_and_is_explained() -> None:
    for name in trioproxy.__all__:
        assert getattr(trioproxy, name).__doc__, name
    with pytest.raises(AttributeError, match="no_such_name"):
        import_module("trioproxy").no_such_name  # noqa: B018
