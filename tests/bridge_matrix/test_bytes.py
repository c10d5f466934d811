"""Between a host and a remote of the same era the bytes of a message pass as they are, in both directions."""

from __future__ import annotations

import json

import pytest

from tests.matrix.cells import CELLS, Cell
from tests.modern import EXAMPLE_CLIENT, RESERVED, REVISION
from tests.real.sdk_ways import sdk_warnings

from .hosts import fetch_traffic
from .raw_host import open_raw_host
from .remotes import Remotes
from .stories import path

pytestmark = sdk_warnings

ENVELOPE = {
    RESERVED + "protocolVersion": REVISION,
    RESERVED + "clientInfo": EXAMPLE_CLIENT,
    RESERVED + "clientCapabilities": {},
}
ODD = (
    rb'"exact":1.10,"big":1000000000000000000000000000000000001,"text":"\u00e9 \ud83d\ude00 \/ '
    + "ünï 漢字".encode()
    + rb'","deep":[[{"":null}]],"text ":-0'
)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if not cell.is_translated], ids=str)
async def test_the_bytes_of_a_call_and_of_its_answer_pass_as_they_are(cell: Cell, remotes: Remotes) -> None:
    """Keys in any order, numbers that nobody can hold, escapes that nobody needs; and what a server makes of them."""
    remote = await remotes.start_async()
    meta = b'"_meta":' + json.dumps(ENVELOPE).encode() + b"," if cell.client == "modern" else b""
    params = b"{" + meta + b'"arguments":{' + ODD + b'},"name":"echo"}'
    call = b'{"params":' + params + b',"method":"tools/call","id":"\\u0041 1","jsonrpc":"2.0"}'
    with open_raw_host(remote.url(path(cell))) as host:
        if cell.client == "legacy":
            await host.shake_hands()
        else:
            await host.ask("hello", "server/discover", _meta=ENVELOPE)
        host.say(call)
        line = await host.hear_line()
        assert json.loads(line)["id"] == "A 1"
        traffic = await fetch_traffic(remote.url(path(cell)))
        assert call.decode() in traffic["heard"]
        assert any(line.decode() in said for said in traffic["said"])
        assert await host.leave() == 0
