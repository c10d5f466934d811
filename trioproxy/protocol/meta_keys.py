"""The keys that 2026-07-28 reserves in `_meta` (Basic §`_meta`)."""

from __future__ import annotations

from typing import Final

RESERVED: Final = "io.modelcontextprotocol/"
"""What they all begin with."""

PROTOCOL_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
"""Of a request: its revision.  The key that makes a request a modern one."""
CLIENT_INFO: Final = "io.modelcontextprotocol/clientInfo"
CLIENT_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"

SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
"""Of a result."""
SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"
"""Of everything that is said for a `subscriptions/listen`: the id of that request."""
