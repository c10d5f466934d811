"""The files of servers that clients have, as people write them."""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import NoReturn

import pytest

from trioproxy.config import ChildConfig, ConfigError
from trioproxy.remote.settings import RemoteConfig
from trioproxy.server_file import ServerFile

ENVIRON = {"TOKEN": "s3cret", "HOME": "/home/me", "EMPTY": ""}


def read(tmp_path: Path, text: str, **templates: ChildConfig | RemoteConfig) -> object:
    file = tmp_path / "mcp.json"
    file.write_text(text)
    return dict(ServerFile(file, **templates).read(ENVIRON))  # type: ignore[arg-type]


def test_commands_and_urls_are_read_in_their_order(tmp_path: Path) -> None:
    text = """{"mcpServers": {
        "notes": {"command": "uvx", "args": ["mcp-server-git", "-r", "${env:HOME}/notes"], "env": {"TOKEN": "${TOKEN}"}},
        "search": {"url": "https://example.com/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}}}}"""
    found = read(tmp_path, text)
    assert found == {
        "notes": ChildConfig(("uvx", "mcp-server-git", "-r", "/home/me/notes"), environment={"TOKEN": "s3cret"}),
        "search": RemoteConfig("https://example.com/mcp", headers=(("Authorization", "Bearer s3cret"),)),
    }
    assert isinstance(found, dict)
    assert list(found) == ["notes", "search"]


def test_vs_code_has_another_key_and_comments_and_trailing_commas(tmp_path: Path) -> None:
    text = """// mine
    {"servers": { /* two */
        "a": {"type": "stdio", "command": "a // no comment", "args": ["/* nor this */", "x,]",], },
        "b": {"type": "sse", "url": "http://localhost/sse"}, // the last
    }, "inputs": []}"""
    assert read(tmp_path, text) == {
        "a": ChildConfig(("a // no comment", "/* nor this */", "x,]")),
        "b": RemoteConfig("http://localhost/sse", transport="sse-first"),
    }


@pytest.mark.parametrize(
    ("kind", "transport"),
    [("http", "http-first"), ("streamable-http", "http-first"), ("streamableHttp", "http-first"), ("sse", "sse-first")],
)
def test_the_type_of_a_url_says_what_is_tried_first(tmp_path: Path, kind: str, transport: str) -> None:
    text = f'{{"mcpServers": {{"a": {{"type": "{kind}", "url": "http://localhost/"}}}}}}'
    assert read(tmp_path, text) == {"a": RemoteConfig("http://localhost/", transport=transport)}  # type: ignore[arg-type]


def test_without_a_type_it_is_what_the_options_say(tmp_path: Path) -> None:
    remote = RemoteConfig("http://x/", transport="sse-only")
    for entry in ('{"url": "http://a/"}', '{"url": "http://a/", "type": null}'):
        text = f'{{"mcpServers": {{"a": {entry}}}}}'
        assert read(tmp_path, text, remote=remote) == {"a": RemoteConfig("http://a/", transport="sse-only")}


def test_null_stands_for_nothing(tmp_path: Path) -> None:
    text = '{"mcpServers": {"a": {"command": "a", "args": null, "env": null, "cwd": null, "envFile": null}}}'
    assert read(tmp_path, text) == {"a": ChildConfig(("a",))}


def test_what_is_not_enabled_is_left_out_though_it_may_be_wrong(tmp_path: Path) -> None:
    text = """{"mcpServers": {"a": {"enabled": false}, "b": {"disabled": true, "command": 1}, "c": {"command": "c"},
        "d": {"command": "d", "enabled": true, "disabled": false, "alwaysAllow": ["x"], "timeout": 60}}}"""
    assert read(tmp_path, text) == {"c": ChildConfig(("c",)), "d": ChildConfig(("d",))}


def test_a_user_may_be_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container it may have any number, and no name."""

    def nobody(number: int) -> NoReturn:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME", raising=False)
    assert read(tmp_path, '{"mcpServers": {"a": {"command": "a"}}}') == {"a": ChildConfig(("a",))}


def test_a_variable_may_have_a_default(tmp_path: Path) -> None:
    arguments = '["${EMPTY:-x}", "${env:NONE:-}", "$HOME", "${TOKEN:-y}"]'
    text = f'{{"mcpServers": {{"a": {{"command": "${{EDITOR:-vi}}", "args": {arguments}}}}}}}'
    assert read(tmp_path, text) == {"a": ChildConfig(("vi", "", "", "$HOME", "s3cret"))}


def test_a_number_is_taken_for_a_string_where_there_can_only_be_strings(tmp_path: Path) -> None:
    assert read(tmp_path, '{"mcpServers": {"a": {"command": "a", "env": {"PORT": 8000, "LOUD": true}}}}') == {
        "a": ChildConfig(("a",), environment={"PORT": "8000", "LOUD": "true"})
    }


def test_places_have_names(tmp_path: Path) -> None:
    folder = tmp_path / ".vscode"
    folder.mkdir()
    file = folder / "mcp.json"
    file.write_text(
        '{"servers": {"a": {"command": "${workspaceFolder}/a", "args": ["${userHome}"], "cwd": "${workspaceFolder}"}}}'
    )
    (child,) = ServerFile(file).read({}).values()
    assert isinstance(child, ChildConfig)
    assert (child.argv, child.cwd) == ((f"{tmp_path.resolve()}/a", str(Path.home())), tmp_path.resolve())


def test_variables_can_be_in_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# mine\nexport A=1\nB='two words'\n\nC=x=y\nnothing\n")
    text = f'{{"servers": {{"a": {{"command": "a", "envFile": "{tmp_path}/.env", "env": {{"B": "2"}}}}}}}}'
    assert read(tmp_path, text) == {"a": ChildConfig(("a",), environment={"A": "1", "B": "2", "C": "x=y"})}


def test_what_the_file_does_not_say_the_options_say(tmp_path: Path) -> None:
    child = ChildConfig(("x",), environment={"A": "1", "B": "1"}, spares=3, cwd=Path("/"))
    remote = RemoteConfig("http://x/", headers=(("X-A", "1"),), verify=False)
    text = '{"mcpServers": {"a": {"command": "a", "env": {"B": "2"}}, "b": {"url": "http://b/", "headers": {"X-B": "2"}}}}'
    assert read(tmp_path, text, child=child, remote=remote) == {
        "a": ChildConfig(("a",), environment={"A": "1", "B": "2"}, spares=3, cwd=Path("/")),
        "b": RemoteConfig("http://b/", headers=(("X-A", "1"), ("X-B", "2")), verify=False),
    }


def test_with_a_shell_the_words_are_one_line_for_it(tmp_path: Path) -> None:
    text = '{"mcpServers": {"a": {"command": "echo", "args": ["$HOME", "|", "cat"]}}}'
    assert read(tmp_path, text, child=ChildConfig(("x",), shell=True)) == {
        "a": ChildConfig(("echo $HOME | cat",), shell=True)
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"mcpServers": {\n"a": {"command": "a" "args": []}}}', "line 2: not JSON: Expecting ',' delimiter"),
        ("[]", "expected an object with the key mcpServers or servers"),
        ('{"x": 1}', "expected an object with the key mcpServers or servers"),
        ('{\n"mcpServers": []}', "line 2: mcpServers: expected an object of servers by their names"),
        ('{"mcpServers": {\n\n"a": 1}}', "line 3: mcpServers.a: expected an object"),
        ('{"mcpServers": {\n"a": {}}}', "line 2: mcpServers.a: expected either a command or a url"),
        ('{"mcpServers": {"a": {"command": "a", "url": "http://a/"}}}', "expected either a command or a url"),
        (
            '{"mcpServers": {"a": {"command": "a"},\n"b": {\n"command": 7}}}',
            "line 3: mcpServers.b.command: expected a string",
        ),
        ('{"mcpServers": {"a": {"command": "a",\n "args": "x"}}}', "line 2: mcpServers.a.args: expected a list of strings"),
        ('{"mcpServers": {"a": {"command": "a", "args": [1]}}}', "mcpServers.a.args: expected a string"),
        ('{"mcpServers": {"a": {"command": "a", "env": []}}}', "line 1: mcpServers.a.env: expected an object of strings"),
        ('{"mcpServers": {"a": {"command": "a", "env": ["A=1"]}}}', "mcpServers.a.env: expected an object of strings"),
        ('{"mcpServers": {"a": {"command": "a", "env": {"X":\n"${NONE}"}}}}', "mcpServers.a.env.X: ${NONE} has no value"),
        ('{"mcpServers": {"a": {"command": "a", "cwd": "/no/such"}}}', "mcpServers.a.cwd: no such directory: /no/such"),
        ('{"mcpServers": {"a": {"command": ""}}}', "mcpServers.a: no command"),
        (
            '{"mcpServers": {"a": {"command": "a", "args": ["s3cret\\u0000"]}}}',
            "mcpServers.a: 'a': no word of a command has a NUL",
        ),
        (
            '{"mcpServers": {"a": {"command": "a", "args": ["\\ud800"]}}}',
            "mcpServers.a: 'a': no word of a command has a NUL",
        ),
        ('{"mcpServers": {"a": {"command": "a", "env": {"B": "\\udfff"}}}}', "mcpServers.a: --env 'B': a name is not empty"),
        ('{"mcpServers": {"a": {"url": "http://a/", "type": ["http"]}}}', "mcpServers.a.type: expected one of http"),
        ('{"mcpServers": {"a": {"url": "http://a/", "type": 1}}}', "mcpServers.a.type: expected one of http"),
        ('{"mcpServers": {"a/b": {"command": "a"}}}', "mcpServers.a/b: a name that becomes one part of a path"),
        ('{"mcpServers": {"a": {"url": "ftp://a/"}}}', "mcpServers.a: 'ftp://a/': expected a URL of http or https"),
        ('{"mcpServers": {"a": {"url": "http://a/?key=s3cret", "type": "ws"}}}', "mcpServers.a.type: expected one of http"),
        ('{"mcpServers": {"a": {"url": "http://a/", "headers": {"A B": "1"}}}}', "mcpServers.a: --header 'A B'"),
        ('{"mcpServers": {"a": {"command": "a", "envFile": "/no/such"}}}', "mcpServers.a.envFile: /no/such: No such file"),
        ("[" * 100_000, "mcp.json"),
    ],
)
def test_a_mistake_is_told_with_line_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, text)
    assert complaint in str(raised.value)
    assert str(raised.value).startswith(f"--config {tmp_path}/mcp.json")
    assert "s3cret" not in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config /no/such: No such file"):
        ServerFile(Path("/no/such")).read({})
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        ServerFile(tmp_path / "x").read({})
