"""API keys: where they are found, which are good, and that nobody gets to see them."""

from __future__ import annotations

import ast
import hashlib
import inspect
from pathlib import Path

import pytest

from tests.auth.asking import asking, bearer
from trioproxy.auth import AuthRequest, api_keys, headers
from trioproxy.auth.api_keys import ApiKeys, KeyPlaces, api_key_auth, digest, read_key_file
from trioproxy.protocol.errors import AuthenticationError, KeyFileError, MalformedCredentials

KEY, OTHER = "sk-one", "sk-two"
ANYWHERE = KeyPlaces(in_query=True)


async def name_of(keys: ApiKeys, request: AuthRequest) -> str | None:
    principal = await keys.authenticate(request)
    return None if principal is None else principal.id


# Where


@pytest.mark.parametrize(
    "request_",
    [
        asking(("X-API-Key", KEY)),
        asking(("x-api-key", f" {KEY}\t")),
        bearer(KEY),
        asking(("Authorization", f"bearer  {KEY}")),
        asking(("Authorization", "Basic abc"), ("x-api-key", KEY)),
        asking(("Authorization", f"Bearer {KEY}"), ("x-api-key", "stale")),
        asking(("Authorization", "Bearer stale"), ("x-api-key", KEY)),
    ],
)
async def test_a_key_lets_in_by_its_header_or_as_a_bearer_token(request_: AuthRequest) -> None:
    assert await api_key_auth([KEY, OTHER])(request_) is not None


async def test_the_header_may_have_any_name() -> None:
    way = api_key_auth([KEY], header_name="X-Secret")
    assert await way(asking(("x-secret", KEY))) is not None
    assert await way(bearer(KEY)) is not None
    assert await way(asking(("x-api-key", KEY))) is None


async def test_the_header_may_be_authorization_itself() -> None:
    way = api_key_auth([KEY], header_name="Authorization")
    assert await way(asking(("Authorization", KEY))) is not None
    assert await way(bearer(KEY)) is not None
    assert await way(asking(("Authorization", "Bearer"))) is None
    with pytest.raises(AuthenticationError):
        await way(asking(("Authorization", "stale")))


async def test_a_key_in_the_query_counts_only_where_that_was_asked_for() -> None:
    request = asking(query=f"a=b&apiKey={KEY}")
    assert await api_key_auth([KEY])(request) is None
    assert await api_key_auth([KEY], in_query=True)(request) is not None
    escaped = asking(query="apiKey=a%2Bb%26c")
    assert await api_key_auth(["a+b&c"], in_query=True)(escaped) is not None


@pytest.mark.parametrize(
    "request_",
    [
        asking(),
        asking(("x-api-key", "")),
        asking(("x-api-key", "  ")),
        asking(("Authorization", "Bearer")),
        asking(("Authorization", "Bearer ")),
        asking(query="apiKey="),
        asking(query="apikey=" + KEY),
    ],
)
async def test_an_empty_key_is_no_key(request_: AuthRequest) -> None:
    assert await ApiKeys([KEY], None, ANYWHERE).authenticate(request_) is None


@pytest.mark.parametrize(
    "request_",
    [
        asking(("x-api-key", KEY), ("x-api-key", OTHER)),
        asking(("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {KEY}")),
        asking(("Authorization", f"Bearer {KEY}, Bearer {KEY}")),
        asking(("Authorization", f"Bearer x {KEY}")),
        asking(query=f"apiKey={KEY}&apiKey={KEY}"),
    ],
)
async def test_two_keys_in_one_place_are_none(request_: AuthRequest) -> None:
    """Whoever stands before us may have looked at the other one."""
    with pytest.raises(MalformedCredentials) as caught:
        await ApiKeys([KEY, OTHER], None, ANYWHERE).authenticate(request_)
    assert KEY not in str(caught.value)


# Which


@pytest.mark.parametrize(
    "key", ["sk-on", "sk-one2", "SK-ONE", "sk-one,sk-two", "*", "\u00e9", "'sk-one'", "x" * 30_000, "a.b.c", "0"]
)
async def test_any_other_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        await api_key_auth([KEY, OTHER])(asking(("x-api-key", key)))
    assert (str(caught.value), caught.value.error) == ("the API key is not known here", "invalid_token")


async def test_with_no_keys_nobody_is_let_in() -> None:
    with pytest.raises(AuthenticationError):
        await api_key_auth([])(bearer(KEY))


async def test_each_key_is_a_principal_of_its_own_wherever_it_was() -> None:
    keys = ApiKeys([KEY, OTHER])
    one = await name_of(keys, bearer(KEY))
    assert one == await name_of(keys, asking(("x-api-key", KEY)))
    assert one != await name_of(keys, bearer(OTHER))
    assert one is not None
    assert KEY not in one


def test_what_stands_for_a_key_says_nothing_of_it() -> None:
    """Without the secret of the process, a key that is easily guessed could be found by its digest."""
    assert digest(KEY) not in (hashlib.blake2b(KEY.encode(), digest_size=32).digest(), hashlib.sha256(KEY.encode()).digest())


@pytest.mark.parametrize("module", [api_keys, headers])
def test_secrets_are_compared_in_constant_time(module: object) -> None:
    """`compare_digest` is there, and nothing that looks into a secret byte by byte: no == and no `in` beside it."""
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    called = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert "hmac.compare_digest" in called
    compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    looks = {ast.unparse(node) for node in compared if not isinstance(node.ops[0], ast.Is | ast.IsNot | ast.Gt)}
    assert looks <= {"self.header_name.lower() != 'authorization'", "value.lower() == 'bearer'"}


# The file


async def test_keys_come_from_options_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"\ufeff# alice\n{OTHER}\n\n  sk-three\t\r\n#sk-four\n")
    keys = ApiKeys([KEY, OTHER], file)
    assert len(keys) == 3
    for key in (KEY, OTHER, "sk-three"):
        assert await keys.authenticate(bearer(key)) is not None
    with pytest.raises(AuthenticationError):
        await keys.authenticate(bearer("#sk-four"))


async def test_a_file_that_has_changed_counts_once_it_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{OTHER}\n")
    keys = ApiKeys([KEY], file)
    before = await name_of(keys, bearer(KEY))
    file.write_text("sk-three\n")
    assert await name_of(keys, bearer(OTHER)) is not None
    keys.reload()
    assert await name_of(keys, bearer("sk-three")) is not None
    assert await name_of(keys, bearer(KEY)) == before
    with pytest.raises(AuthenticationError):
        await keys.authenticate(bearer(OTHER))


async def test_a_file_that_can_not_be_used_leaves_the_keys_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{OTHER}\n")
    keys = ApiKeys([], file)
    file.write_text("sk-three\nnot a key\n")
    with pytest.raises(KeyFileError):
        keys.reload()
    assert await keys.authenticate(bearer(OTHER)) is not None


async def test_an_empty_file_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# nobody\n")
    with pytest.raises(AuthenticationError):
        await ApiKeys([], file).authenticate(bearer(KEY))


@pytest.mark.parametrize("line", ["s3cret key", "s3cret\u00e9", "s3cret\0", "s3cret\x1b[0m"])
def test_a_line_that_is_no_key_is_named_by_its_number_and_not_shown(tmp_path: Path, line: str) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# keys\n{KEY}\n{line}\n")
    with pytest.raises(KeyFileError) as caught:
        read_key_file(file)
    assert str(caught.value) == f"line 3 of {file} is no key: a key is visible ASCII characters without spaces"


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file or directory"):
        ApiKeys([], tmp_path / "missing")
    with pytest.raises(KeyFileError, match="Is a directory"):
        read_key_file(tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(KeyFileError, match="it is no text"):
        read_key_file(binary)
