"""The file that tokens are kept in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from trioproxy.remote.token_answers import SignInFailed
from trioproxy.remote.token_store import Record, Registration, TokenStore, default_path

URL = "https://mcp.example.com/mcp"
AS = "https://as.example.com"


def record(token: str) -> Record:
    return Record(
        AS, {AS: Registration({"client_id": "us"}, {"access_token": token}, 17.5, {"issuer": AS}, {"resource": URL})}
    )


def test_what_was_written_is_read_and_by_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "state" / "trioproxy" / "tokens.json"
    store = TokenStore(path, URL, None)
    assert store.read() == Record()
    store.write(record("one"))
    assert TokenStore(path, URL, None).read() == record("one")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(path.parent) == ["tokens.json"]


def test_a_file_that_others_could_read_is_no_longer_when_there_is_something_in_it(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text("")
    path.chmod(0o644)
    TokenStore(path, URL, None).write(record("one"))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_may_hold_several_remotes_and_names_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    stores = [
        TokenStore(path, url, client_id)
        for url in (URL, f"{URL}?key=a", f"{URL}?key=b", "https://other.example/mcp")
        for client_id in (None, "us")
    ]
    for number, store in enumerate(stores):
        store.write(record(f"token {number}"))
    assert [store.read() for store in stores] == [record(f"token {number}") for number in range(8)]
    assert "key=" not in path.read_text()


def test_each_remote_and_name_has_a_file_of_its_own_in_the_folder_for_state(tmp_path: Path) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path), "HOME": "/home/me"}
    path = default_path(state, URL, None)
    assert path.parent == tmp_path / "trioproxy"
    assert path.name.startswith("mcp.example.com-")
    others = {default_path(state, url, client) for url in (URL, f"{URL}?a", "https://[::1]/mcp") for client in (None, "us")}
    assert len(others) == 6
    for elsewhere in ("", "relative/path"):
        home = default_path({"XDG_STATE_HOME": elsewhere, "HOME": "/home/me"}, URL, None)
        assert home == Path("/home/me/.local/state/trioproxy") / path.name


def test_a_few_authorization_servers_are_remembered_the_last_ones() -> None:
    kept = Record()
    for number in range(20):
        kept.put(f"https://as{number}", Registration(token={"access_token": str(number)}))
    assert list(kept.by_issuer) == [f"https://as{number}" for number in range(12, 20)]
    kept.put("https://as12", Registration())
    assert kept.issuer == "https://as12"
    assert kept.current == Registration()


@pytest.mark.parametrize(
    "remotes",
    [
        {URL: 7},
        {URL: {"issuer": AS, "by_issuer": []}},
        {URL: {"issuer": AS, "by_issuer": {AS: None}}},
        {URL: {"issuer": AS, "by_issuer": {AS: {"token": "secret"}}}},
        {URL: {"issuer": AS, "by_issuer": {AS: {"expires_at": "secret"}}}},
    ],
)
def test_what_is_no_record_is_none_and_not_quoted(tmp_path: Path, remotes: object, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps({"version": 1, "remotes": remotes}))
    assert TokenStore(path, URL, None).read() == Record()
    assert "can't be read" in caplog.text
    assert "secret" not in caplog.text


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens.json"
    store = TokenStore(path, URL, None)
    store.write(record("one"))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    store.write(record("two"))
    assert store.read() == record("two")
    assert TokenStore(path, URL, None).read() == record("one")
    assert os.listdir(tmp_path) == ["tokens.json"]


async def test_one_process_at_a_time_signs_in_and_one_that_dies_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    program = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held'); sys.stdin.read()"
    command = [sys.executable, "-u", "-c", program, f"{path}.lock"]
    store = TokenStore(path, URL, None)
    other = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdin is not None
    assert other.stdout is not None
    async with other.stdin, other.stdout:
        try:
            assert await other.stdout.receive_some()
            with pytest.raises(SignInFailed, match=r"another process is signing in, for more than 0\.01 s"):
                async with store.lock(0.01):
                    pass
        finally:
            other.kill()
        async with store.lock(10):
            pass
        await other.wait()
    async with store.lock(0.01):
        pass


async def test_where_there_can_be_no_lock_nobody_is_kept_waiting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with TokenStore(tmp_path / "file" / "tokens.json", URL, None).lock(0):
        pass
