"""A page that the user is to look at."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from trioproxy.remote.browser import alone, open_page


async def test_a_page_is_named_even_if_there_is_no_browser(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BROWSER", "/nowhere/to/be/found")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    await open_page("https://as.example.com/authorize?state=1")
    out, err = capfd.readouterr()
    assert out == ""
    assert "\n    https://as.example.com/authorize?state=1\n" in err


async def test_a_page_is_an_argument_and_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/opened\n')
    script.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(script))
    url = f"https://as.example.com/?a=$(touch%20{tmp_path}/evil)&b=;touch%20x'"
    await open_page(url)
    assert (tmp_path / "opened").read_text() == f"{url}\n"
    assert not (tmp_path / "evil").exists()


async def test_one_page_is_shown_at_a_time() -> None:
    shown: list[str] = []

    async def show(name: str) -> None:
        async with alone():
            shown.append(f"{name} opened")
            await trio.testing.wait_all_tasks_blocked()
            shown.append(f"{name} closed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(show, "one")
        nursery.start_soon(show, "other")
    assert [line.split()[1] for line in shown] == ["opened", "closed"] * 2
