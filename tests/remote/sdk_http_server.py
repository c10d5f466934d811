"""The server of `tests/real`, on the official SDK, served over HTTP as the SDK does it.

python -m tests.remote.sdk_http_server PORT stateful | stateless
"""

from __future__ import annotations

import sys

import uvicorn

from tests.real.sdk_server import server


def main() -> None:
    port, kind = int(sys.argv[1]), sys.argv[2]
    app = server.streamable_http_app(stateless_http=kind == "stateless")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
