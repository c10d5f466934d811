"""MCP as values and functions: the half of trioproxy that never waits.

Nothing below this package knows of trio, a clock, a random number or the environment.  Bytes and messages come in, values
go out, and each module says which section of the specification it is.  `tests/test_architecture.py` holds the line.
"""
