"""The file of servers that clients have: `mcpServers` of Claude and Cursor, `servers` of VS Code.

    {"mcpServers": {"notes": {"command": "uvx", "args": ["mcp-server-git"], "env": {"TOKEN": "${env:TOKEN}"}},
                    "search": {"url": "https://example.com/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}}}}

An entry has a command (`args`, `env`, `envFile`, `cwd`) or a `url` (`headers`, `type`); `enabled: false` or `disabled: true`
leaves it out.  What other programs keep in an entry for themselves is none of our business.  Comments and trailing commas
are allowed, as VS Code has them.

In every string `${env:NAME}` and `${NAME}` are replaced from our environment, `${NAME:-default}` too; `${userHome}`, and
`${workspaceFolder}`, the folder that the file or its `.vscode` or `.cursor` is in.  One that has no value is an error: a
server without its token would fail later, and say less.  To read the file again is to call `read` again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

from .config import ChildConfig, ConfigError, is_server_name
from .remote.settings import RemoteConfig, TransportChoice

Entry: TypeAlias = ChildConfig | RemoteConfig

_COMMENT: Final = r"(?://[^\n]*|/\*(?:(?!\*/).)*\*/)"
_NOT_JSON: Final = re.compile(rf'"(?:[^"\\\n]|\\.)*"|{_COMMENT}|,(?=\s*(?:{_COMMENT}\s*)*[}}\]])', re.DOTALL)
_REFERENCE: Final = re.compile(r"\$\{([^{}]*)\}")
_TRANSPORTS: Final[Mapping[str, TransportChoice]] = {
    "http": "http-first",
    "streamable-http": "http-first",
    "streamableHttp": "http-first",
    "sse": "sse-first",
}


@dataclass(frozen=True)
class ServerFile:
    """Where the file is, and what its servers have that it doesn't speak of.

    Args:
      child, remote: templates, whose command and URL don't matter.
    """

    path: Path
    child: ChildConfig = field(default_factory=lambda: ChildConfig(("command",)))
    remote: RemoteConfig = field(default_factory=lambda: RemoteConfig("http://localhost/"))

    def read(self, environ: Mapping[str, str]) -> Mapping[str, Entry]:
        """Return the servers that the file names at the moment, by their names, in its order.

        Raises:
          ConfigError: the file can't be used; the message has the line, and the key.
        """
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--config {self.path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
        return _Reading(self, text, environ).servers()


class _Reading:
    """The file as it is read once."""

    def __init__(self, file: ServerFile, text: str, environ: Mapping[str, str]) -> None:
        self._path = file.path
        self._child = file.child
        self._remote = file.remote
        self._text = _NOT_JSON.sub(_blank, text)
        self._environ = environ
        folder = file.path.resolve().parent
        workspace = folder.parent if folder.name in (".vscode", ".cursor") else folder
        self._places = {"userHome": os.path.expanduser("~"), "workspaceFolder": str(workspace)}

    def servers(self) -> dict[str, Entry]:
        try:
            content = json.loads(self._text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"--config {self._path}, line {error.lineno}: not JSON: {error.msg}") from None
        except (RecursionError, ValueError) as error:
            raise ConfigError(f"--config {self._path}: {error}") from None
        key = next((key for key in ("mcpServers", "servers") if isinstance(content, dict) and key in content), None)
        if key is None:
            raise ConfigError(f"--config {self._path}: expected an object with the key mcpServers or servers")
        entries = content[key]
        if not isinstance(entries, dict):
            self._refuse("expected an object of servers by their names", key)
        return {name: self._read(entry, (key, name)) for name, entry in entries.items() if _is_enabled(entry)}

    def _read(self, entry: Any, where: tuple[str, ...]) -> Entry:
        if not is_server_name(where[-1]):
            self._refuse("a name that becomes one part of a path", *where)
        if not isinstance(entry, dict):
            self._refuse("expected an object", *where)
        if ("command" in entry) == ("url" in entry):
            self._refuse("expected either a command or a url", *where)
        try:
            return self._read_command(entry, where) if "command" in entry else self._read_url(entry, where)
        except ConfigError as error:
            if str(error).startswith("--config "):
                raise
            self._refuse(str(error), *where)

    def _read_command(self, entry: dict[str, Any], where: tuple[str, ...]) -> ChildConfig:
        arguments = [] if entry.get("args") is None else entry["args"]
        if not isinstance(arguments, list):
            self._refuse("expected a list of strings", *where, "args")
        command = self._string(entry["command"], *where, "command")
        words = [self._string(word, *where, "args") for word in arguments]
        environment = {**self._child.environment, **self._env_file(entry, where), **self._strings(entry, where, "env")}
        cwd = self._string(entry["cwd"], *where, "cwd") if entry.get("cwd") is not None else None
        if cwd is not None and not Path(cwd).is_dir():
            self._refuse(f"no such directory: {cwd}", *where, "cwd")
        argv = (" ".join((command, *words)),) if self._child.shell else (command, *words)
        return replace(self._child, argv=argv, environment=environment, cwd=self._child.cwd if cwd is None else Path(cwd))

    def _read_url(self, entry: dict[str, Any], where: tuple[str, ...]) -> RemoteConfig:
        transport, kind = self._remote.transport, entry.get("type")
        if kind is not None:
            if not isinstance(kind, str) or kind not in _TRANSPORTS:
                self._refuse(f"expected one of {', '.join(_TRANSPORTS)}", *where, "type")
            transport = _TRANSPORTS[kind]
        url = self._string(entry["url"], *where, "url")
        headers = (*self._remote.headers, *self._strings(entry, where, "headers").items())
        return replace(self._remote, url=url, transport=transport, headers=headers)

    def _env_file(self, entry: dict[str, Any], where: tuple[str, ...]) -> dict[str, str]:
        """Return what the file that `envFile` names sets: a variable a line, as `NAME=value`."""
        if entry.get("envFile") is None:
            return {}
        path = Path(self._string(entry["envFile"], *where, "envFile"))
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            self._refuse(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}", *where, "envFile")
        found = {}
        for line in lines:
            name, equals, value = line.strip().removeprefix("export ").partition("=")
            if equals and not name.startswith("#"):
                found[name.strip()] = value.strip().strip("\"'")
        return found

    def _strings(self, entry: dict[str, Any], where: tuple[str, ...], key: str) -> dict[str, str]:
        values = {} if entry.get(key) is None else entry[key]
        if not isinstance(values, dict):
            self._refuse("expected an object of strings", *where, key)
        return {name: self._string(value, *where, key, name) for name, value in values.items()}

    def _string(self, value: Any, *where: str) -> str:
        if isinstance(value, bool | int | float) and len(where) > 3:
            # {"env": {"PORT": 8000}} is common enough, and means just one thing.
            value = json.dumps(value)
        if not isinstance(value, str):
            self._refuse("expected a string", *where)

        def expand(match: re.Match[str]) -> str:
            name, has_default, default = match[1].removeprefix("env:").partition(":-")
            if match[1] in self._places:
                return self._places[match[1]]
            if name in self._environ:
                return self._environ[name]
            if not has_default:
                self._refuse(f"{match[0]} has no value in the environment", *where)
            return default

        return _REFERENCE.sub(expand, value)

    def _refuse(self, why: str, *keys: str) -> NoReturn:
        raise ConfigError(f"--config {self._path}, line {self._line_of(keys)}: {'.'.join(keys)}: {why}")

    def _line_of(self, keys: tuple[str, ...]) -> int:
        """Return the line of the last of `keys`, each of which comes after the one before it."""
        at = 0
        for key in keys:
            found = re.compile(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:").search(self._text, at)
            at = found.start() if found else at
        return self._text.count("\n", 0, at) + 1


def _is_enabled(entry: Any) -> bool:
    return not (isinstance(entry, dict) and (entry.get("enabled") is False or entry.get("disabled") is True))


def _blank(match: re.Match[str]) -> str:
    """Return what takes the place of something that is no JSON: as many lines of nothing; strings stay."""
    return match[0] if match[0].startswith('"') else re.sub(r"[^\n]", " ", match[0])
