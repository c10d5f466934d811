"""The command line: words and environment in, a proxy that serves and an exit code out.

The first half decides and is pure: `read_command_line` makes a `Config` of words, by the table in `options`.  The
second half, `main`, does what was decided.

Exit codes: 0 an orderly end, 1 a failure while starting or running, 2 a mistake on the command line, and 130 (128 +
SIGINT, as a shell has it) for an interrupt before there was anything to end in order.
"""

from __future__ import annotations

import difflib
import os
import re
import resource
import shlex
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from . import __version__, logs
from .config import (
    AuthConfig,
    ChildConfig,
    Config,
    ConfigError,
    CorsOptions,
    EndpointConfig,
    LimitConfig,
    ListenConfig,
    LogConfig,
    TimeConfig,
)
from .options import GROUPS, OPTIONS, SPELLINGS, USAGE, VARIABLES, Option, render_help
from .protocol.errors import TrioproxyError
from .values import HEADER, QUESTION

if TYPE_CHECKING:
    from .bridge import BridgeConfig
    from .remote.settings import RemoteConfig
    from .server_file import Entry, ServerFile

C = TypeVar("C", Config, "BridgeConfig")

DEMO = (sys.executable, "-m", "trioproxy.demo")

_FILES = 65536
_REFERENCE = re.compile(r"\$\{(?:env:)?([^{}]*)\}")
_SECTIONS: Mapping[str, Callable[..., Any]] = {
    "listen": ListenConfig,
    "endpoints": EndpointConfig,
    "times": TimeConfig,
    "limits": LimitConfig,
    "auth": AuthConfig,
    "cors": CorsOptions,
    "log": LogConfig,
}
_ALL_SECTIONS = ("", "child", *_SECTIONS, "remote", "sign_in", "tunnel")
_HOW_TO_SIGN_IN = {option.name for option in OPTIONS.values() if option.sets.startswith("sign_in.")} - {"oauth"}


@dataclass(frozen=True)
class Given:
    """One value of one option, still as it was written, and under which spelling."""

    option: Option
    spelling: str
    negates: bool
    text: str

    def read(self) -> Any:
        try:
            value = self.option.kind.read(self.text)
        except ValueError:
            came = self.spelling if self.option.kind.is_secret else f"{self.spelling} {self.text!r}"
            raise ConfigError(f"{came}: expected {self.option.kind.expected}") from None
        return not value if self.negates else value


def read_command_line(argv: Sequence[str], environ: Mapping[str, str]) -> Config | BridgeConfig | str:
    """Return what is to be served, over HTTP or on stdio, or the text that was asked for instead (`--help`, `--version`).

    Raises:
      ConfigError: a mistake of the user's; the message names the option, what came and what was expected.
    """
    words, command = read_words(argv)
    asked = {given.option.name for given in words if given.option.kind is QUESTION and given.read()}
    if "help" in asked:
        return render_help()
    if "version" in asked:
        return f"trioproxy {__version__}\n"
    # An option on the command line replaces all that the environment says about it, and what is replaced is never read:
    # Kubernetes sets MCP_PROXY_PORT=tcp://... beside a service called mcp-proxy, and --port is the way out.
    values = Values(_by_option(words), _by_option(read_environment(environ)), environ)
    # What follows the name of a command is its own, whatever it looks like.
    if values["stdio"] or is_url(next(iter(command), "")):
        for word in command:
            if not is_url(word):
                raise ConfigError(f"{word}: URLs are served on stdio, and a command over HTTP: give one or the other")
        return configure_bridge(values, command)
    return configure(values, command)


def is_url(word: str) -> bool:
    """Tell whether a word that is no option means a server at a URL."""
    return word.lower().startswith(("http://", "https://"))


def read_words(argv: Sequence[str]) -> tuple[list[Given], tuple[str, ...]]:
    """Return the options at the start of `argv`, and the command that follows them."""
    rest = list(argv)
    found = []
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        spelling, equals, text = word.partition("=")
        if spelling not in SPELLINGS:
            raise ConfigError(f"{spelling}: no such option{_suggestion(spelling)}")
        option, negates = SPELLINGS[spelling]
        if not option.takes_value:
            text = text if equals or option.kind is QUESTION else "on"
        elif not equals:
            # A value may start with one dash, so that `--port -1` is told what a port is.
            if not rest or rest[0].startswith("--"):
                came = "nothing" if not rest else "an option" if option.kind.is_secret else repr(rest[0])
                raise ConfigError(f"{spelling}: expected {option.kind.expected}; {came} came instead of a value")
            text = rest.pop(0)
        if option.words == 2:
            if " " in text or not rest:
                came = "the first has a space" if " " in text else "only the first came"
                raise ConfigError(f"{spelling} {text}: expected {option.kind.expected}; {came}")
            text = f"{text} {rest.pop(0)}"
        found.append(Given(option, spelling, negates, text))
    return found, tuple(rest)


def read_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    """Yield what the variables in `environ` say, blanks around a value not counted.

    An empty variable says nothing: that is how a compose file unsets one.
    """
    for name, (option, negates) in VARIABLES.items():
        text = environ.get(name, "")
        for piece in text.split(option.separator) if option.separator else [text]:
            if piece.strip():
                yield Given(option, name, negates, piece.strip())


class Values(dict[str, Any]):
    """What the command line, the environment and the defaults amount to, by the names of options.

    Attributes:
      given: the names of those that the command line or the environment names.
      asked: what the command line says of them.
    """

    def __init__(self, asked: dict[str, list[Given]], told: dict[str, list[Given]], environ: Mapping[str, str]) -> None:
        given = told | asked
        super().__init__({name: _value(many) for name, many in (_by_option(_defaults()) | given).items()})
        self.given = given.keys()
        self.asked = asked
        self.environ = environ

    def refuse(self, groups: Iterable[str], names: Iterable[str], why: str) -> None:
        """Refuse options that the command line names, and that would mean nothing.

        The environment may be there for other proxies, too.
        """
        nothing = {option.name for group in groups for option in GROUPS[group]} | set(names)
        for name, (first, *_) in self.asked.items():
            if name in nothing:
                raise ConfigError(f"{first.spelling}: {why}")

    def sections(self) -> dict[str, dict[str, Any]]:
        """Return the fields that options set, by the class that has them."""
        sections: dict[str, dict[str, Any]] = {section: {} for section in _ALL_SECTIONS}
        for option in OPTIONS.values():
            section, _, field = option.sets.rpartition(".")
            if option.sets and option.name in self:
                sections[section][field] = self[option.name]
        return sections


def configure(values: Values, command: tuple[str, ...]) -> Config:
    """Return what is to be served over HTTP."""
    sections = values.sections()
    sections[""]["shows_example"] = values["demo"]
    template = ChildConfig(("command",), **sections["child"])
    argv = choose_command(command, demo=values["demo"], shell=values["shell"])
    named = {name: _named_child(text, template) for name, text in values.get("named-server", {}).items()}
    if not (argv or named or "config" in values):
        raise ConfigError("no command: name the stdio server to run, or a URL, or a --config")

    if "endpoint" in values:
        if len(values["server"]) != 1:
            raise ConfigError("--endpoint is the path of one transport, and both are served: add --server sse or stream")
        (transport,) = values["server"]
        if f"{transport}-endpoint" in values.given:
            raise ConfigError(f"--endpoint and --{transport}-endpoint are the same path here: give one of them")
        sections["endpoints"][f"{transport}_endpoint"] = values["endpoint"]

    if "config" in values:
        sections[""]["server_file"] = _server_file(values, sections)
    else:
        values.refuse(["remote"], [], "that is for servers at a URL, and there is none")
    if values["tunnel"]:
        from .tunnel import TunnelConfig

        sections[""]["tunnel"] = TunnelConfig(**sections["tunnel"])
    else:
        values.refuse([], ["tunnel-subdomain", "tunnel-host", "tunnel-open"], "there is no tunnel without --tunnel")

    concerns: dict[str, Any] = {section: make(**sections[section]) for section, make in _SECTIONS.items()}
    if not values["cors"]:
        if sections["cors"]:
            raise ConfigError("--no-cors and --cors-origin, or what goes with it, contradict each other: give one of them")
        concerns["cors"] = None
    child = replace(template, argv=argv) if argv else None
    return Config(child=child, servers=named, **concerns, **sections[""])


def configure_bridge(values: Values, urls: tuple[str, ...]) -> BridgeConfig:
    """Return what is to be served on stdio."""
    from .bridge import BridgeConfig, name_remotes

    sections = values.sections()
    servers: dict[str, Entry] = {}
    ours = {"api-key", "api-key-header-name", "user-id"}  # what tells a URL who we are
    if "config" in values:
        servers.update(_server_file(values, sections).read(values.environ))
    elif not urls:
        raise ConfigError("--stdio serves what --config names, and there is none")
    else:
        children = {option.name for option in GROUPS["child"]} - {"max-message-size"}
        values.refuse([], children, "that is for a command, and a URL is served")
    if not urls:
        values.refuse([], ours, "that is for a URL on the command line, and there is none")
    if len(keys := values.asked.get("api-key", [])) > 1:
        raise ConfigError(f"{keys[1].spelling}: a URL is sent one key, and {len(keys)} came")
    serving = set(GROUPS) - {"remote", "watch", "time", "auth", "child", "many servers", "other"}
    counts = {"metrics", "metrics-auth", "exit-on-child-death", "demo", "isolation", "spares"}
    waits = {"session-idle-timeout", "keep-alive-timeout", "graceful-shutdown-timeout", "named-server"}
    doors = {option.name for option in GROUPS["auth"]} - ours
    values.refuse(serving, counts | waits | doors, "that is for serving over HTTP, and here stdio is served")
    remotes = name_remotes([_introduced(values, sections, url) for url in urls], taken=servers)
    return BridgeConfig({**remotes, **servers}, log=LogConfig(**sections["log"]), tap=values.get("tap"))


def _server_file(values: Values, sections: Mapping[str, Mapping[str, Any]]) -> ServerFile:
    """Return the file of servers; what it doesn't say of them the options do."""
    from .server_file import ServerFile

    child = ChildConfig(("command",), **sections["child"])
    return ServerFile(values["config"], child, _remote(values, sections, "http://localhost/"))


def _remote(values: Values, sections: Mapping[str, Mapping[str, Any]], url: str) -> RemoteConfig:
    """Return what the options say of a server at a URL."""
    from .remote.settings import RemoteConfig, SignInConfig

    if "ca-file" in values:
        _check_certificates(values["ca-file"])
    sign_in = SignInConfig(**sections["sign_in"])
    signs_in = sign_in.browser or sign_in.client_id is not None
    if not signs_in:
        values.refuse([], _HOW_TO_SIGN_IN, "nobody signs in without --oauth or --client-id")
    return RemoteConfig(
        url,
        **sections["remote"],
        headers=tuple(_read_headers(values)),
        sign_in=sign_in if signs_in else None,
        connection_timeout=sections["times"]["connection_timeout"],
        request_timeout=sections["times"]["request_timeout"],
        max_message_size=sections["child"]["max_message_size"],
    )


def _introduced(values: Values, sections: Mapping[str, Mapping[str, Any]], url: str) -> RemoteConfig:
    """Return the same for a URL on the command line, which is told who we are; one in a file is somebody else's."""
    auth = sections["auth"]
    return replace(
        _remote(values, sections, url),
        api_key=next(iter(auth.get("api_keys", ())), None),
        api_key_header_name=auth["api_key_header_name"],
        user_id=auth.get("user_id"),
    )


def _check_certificates(path: Path) -> None:
    """Say now what would otherwise be said by the first connection."""
    import ssl

    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # of which SSLError is one
        reason = "no certificates (PEM)" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"--ca-file {path}: {reason}") from None


def _read_headers(values: Values) -> Iterator[tuple[str, str]]:
    """Yield the headers that a URL is sent, with what the environment says in them."""
    headers = list(values.get("header", ()))
    if "header-file" in values:
        path = values["header-file"]
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--header-file {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                try:
                    headers.append(HEADER.read(line))
                except ValueError:
                    raise ConfigError(f"--header-file {path}, line {number}: expected {HEADER.expected}") from None
    for name, value in headers:
        yield name, _REFERENCE.sub(lambda match: _look_up(match[1], values.environ), value)


def _look_up(name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise ConfigError(f"--header: ${{{name}}} has no value in the environment")
    return environ[name]


def _named_child(command: str, template: ChildConfig) -> ChildConfig:
    try:
        argv = (command,) if template.shell else tuple(shlex.split(command))
    except ValueError as error:
        raise ConfigError(f"--named-server {command!r}: {error}") from None
    return replace(template, argv=argv)


def choose_command(words: tuple[str, ...], *, demo: bool, shell: bool) -> tuple[str, ...]:
    """Return the argv of the child: `words` untouched, or the demo's; for a shell, all in one word."""
    if demo and words:
        raise ConfigError(f"--demo serves the built-in demo server, but a command came as well: {shlex.join(words)}")
    if demo:
        return (shlex.join(DEMO),) if shell else DEMO
    # Joined as Node's `spawn(..., {shell: true})` does it, so that what works with npm's mcp-proxy works here.
    return (" ".join(words),) if shell and words else words


def _by_option(source: Iterable[Given]) -> dict[str, list[Given]]:
    grouped: dict[str, list[Given]] = {}
    for given in source:
        grouped.setdefault(given.option.name, []).append(given)
    return grouped


def _defaults() -> Iterator[Given]:
    for option in OPTIONS.values():
        if option.default is not None:
            yield Given(option, f"--{option.name}", False, option.default)


def _value(given: list[Given]) -> Any:
    """Return what was said about one option: all of it if it is repeatable, else the last word."""
    option = given[0].option
    values = [one.read() for one in given]
    return option.gather(values) if option.separator else values[-1]


def _suggestion(spelling: str) -> str:
    """Return `; did you mean …?`, or nothing where nothing is near."""
    near = difflib.get_close_matches(spelling, SPELLINGS, n=1)
    return f"; did you mean {near[0]}?" if near else "; --help lists them all"


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line `argv` says (by default, this process's) and return the exit code."""
    _fill_standard_descriptors()
    status = 130
    try:
        status = _run(sys.argv[1:] if argv is None else argv)
    except* KeyboardInterrupt:
        # From before `serve` took over the signals: nothing runs yet, and a traceback would tell nobody anything.
        pass
    return status


def _run(argv: Sequence[str]) -> int:
    if list(argv[:1]) == ["healthcheck"]:
        from . import healthcheck

        return healthcheck.main(argv[1:])
    if list(argv[:1]) == ["replay"]:
        from . import replay

        return replay.main(argv[1:])
    try:
        wanted = read_command_line(argv, os.environ)
    except ConfigError as error:
        logs.write_to_stderr(f"{USAGE}trioproxy: error: {error}\n")
        return 2
    if isinstance(wanted, str):
        print(wanted, end="")  # noqa: T201
        return 0
    logs.set_up(wanted.log)
    # Only now: `--help` and a mistake need no event loop, and get their answer in a fraction of the time.
    if isinstance(wanted, Config):
        from .server import serve

        return run_to_its_end(serve, wanted)
    from .bridge import serve_stdio

    return run_to_its_end(serve_stdio, wanted)


def run_to_its_end(serve: Callable[[C], Awaitable[None]], config: C) -> int:
    """Run `serve(config)` and return the exit code that its end amounts to, having said why if it is not 0.

    An error that trioproxy does not foresee is a defect in it, and comes out as it is, traceback and all.
    """
    import trio

    _raise_file_limit()
    _keep_free_memory()
    status = 0
    try:
        trio.run(serve, config)
    except* ConfigError as group:
        # A file that is read when everything else is known to be well.
        status = 2
        for error in _leaves(group):
            logs.write_to_stderr(f"trioproxy: error: {error}\n")
    except* TrioproxyError as group:
        status = 1
        for error in _leaves(group):
            logs.report_failure(error, config.log)
    return status


def _keep_free_memory() -> None:
    """Let the allocator keep a few megabytes: to get pages for each large message, and to give them back, is what costs.

    glibc goes by the largest block that was ever freed: up to that size it serves blocks from its heap, and gives nothing
    of it back before twice as much is free (mallopt(3), M_MMAP_THRESHOLD).  A block that nobody has written to had no pages.
    To other allocators this is nothing.
    """
    bytes(4 * 1024 * 1024)


def _raise_file_limit() -> None:
    """Allow ourselves as many open files as we may have: each child takes four, and each client one.

    Most systems give a process 1024 and let it ask for more.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if most == resource.RLIM_INFINITY else min(_FILES, most)
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _fill_standard_descriptors() -> None:
    """Open /dev/null in place of each of stdin, stdout and stderr that we were started without.

    Otherwise the next socket or pipe would get the number 2, and log lines would go to some client or child.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
