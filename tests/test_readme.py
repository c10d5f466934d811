"""What README says is so."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.proxies import run_proxy
from trioproxy.options import render_markdown

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_readme_names_every_option_as_the_command_line_has_it() -> None:
    assert render_markdown().strip() in README


def test_every_module_is_a_chapter_and_its_line_is_the_first_of_its_docstring() -> None:
    chapters = dict(re.findall(r"^\| `([a-z_/]+)` \| (.*) \|$", README, re.MULTILINE))
    modules = {}
    for path in (ROOT / "trioproxy").rglob("*.py"):
        name = str(path.relative_to(ROOT / "trioproxy").with_suffix("")).removesuffix("/__init__")
        if name.startswith("demo/") or name in ("__init__", "__main__", "protocol", "endpoints"):
            continue
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        assert docstring is not None, name
        modules[name] = " ".join(docstring.partition("\n\n")[0].split())
    assert chapters == modules


def test_the_curl_that_the_demo_prints_works() -> None:
    with run_proxy("--demo", urls=2) as proxy:
        assert proxy.process.stderr is not None
        command = proxy.process.stderr.readline().partition("try: ")[2]
        argv = shlex.split(command)
        assert argv[0] == "curl"
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout
        assert answer.startswith("HTTP/1.1 200")
        assert '"serverInfo":{"name":"trioproxy-demo"' in answer


@pytest.mark.parametrize("path", ["pyproject.toml", "LICENSE", "trioproxy/py.typed", ".ci/run"])
def test_what_readme_promises_is_there(path: str) -> None:
    assert (ROOT / path).exists()
