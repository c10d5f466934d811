"""The official SDKs' own HTTP servers, each wired as its documentation says, so that the checks can be run against them.

They are a yardstick for the checks: a red one before an SDK is a fault of either, and has to be explained by a sentence of
the specification.  That of Python serves what the everything server serves; those of TypeScript have the tools of the demo
server that the checks have a use for.

    python           on `streamable_http_app` of the Python SDK, with sessions or without
    typescript_1.mjs on version 1 of the TypeScript SDK: both transports, with sessions
    typescript_2.mjs on version 2: `createMcpHandler`, both eras, without sessions
"""
