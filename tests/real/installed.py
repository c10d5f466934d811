"""Clients and servers from other ecosystems, installed once into a cache folder, at versions that are pinned here.

`TRIOPROXY_TEST_CACHE` names the folder; without it, it is `~/.cache/trioproxy-tests`.  Each installation has a folder of
its own in there, named after what it holds, so that another version gets another folder.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

_PACKAGES = Path(__file__).with_name("package.json")


def node_modules() -> Path:
    """Return the folder with everything in `package.json`; skip the test where there is no Node, except in CI."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            _give_up(f"needs {program}, which is not on PATH")

    def install(folder: Path) -> None:
        shutil.copy(_PACKAGES, folder)
        # No script of a package is needed, and none is run.
        _run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", cwd=folder)

    return _install_once("node", _PACKAGES.read_text(), install) / "node_modules"


def python_with(*requirements: str) -> Path:
    """Return the interpreter of a virtual environment that holds `requirements`."""

    def install(folder: Path) -> None:
        _run(sys.executable, "-m", "venv", folder)
        _run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements)

    return _install_once("python", f"{' '.join(requirements)} for {sys.version}", install) / "bin" / "python"


def _install_once(kind: str, contents: str, install: Callable[[Path], None]) -> Path:
    """Return the folder that holds `contents`; let `install` fill it, if nobody has yet."""
    cache = Path(os.environ.get("TRIOPROXY_TEST_CACHE") or Path.home() / ".cache" / "trioproxy-tests")
    folder = cache / f"{kind}-{hashlib.sha256(contents.encode()).hexdigest()[:12]}"
    complete = folder / "complete"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # Held by one test run at a time; the others then find the work done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            # In place, because a virtual environment doesn't survive being moved.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            install(folder)
            complete.touch()
    return folder


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a package manager; where it fails, so does the test in CI, and elsewhere it is skipped: one may be offline."""
    finished = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if finished.returncode != 0:
        reason = f"{command[0]} could not install what this needs:\n{finished.stdout}\n{finished.stderr}"
        _give_up(reason)


def _give_up(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
