"""The everything server over the Python SDK's own HTTP: `python -m conformance.sdk_servers.python --port PORT`."""

from __future__ import annotations

import argparse
import warnings

import uvicorn
from mcp import MCPDeprecationWarning

from ..everything_server import everything_server

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m conformance.sdk_servers.python")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--stateless", action="store_true", help="no sessions: each request stands alone, in every revision")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    app = everything_server().streamable_http_app(stateless_http=arguments.stateless)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")
