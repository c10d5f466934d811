"""What is served at which path, one module a transport.

An endpoint knows sessions and exchanges, and neither children nor any era but its own.  It is a callable that takes an
`Exchange`, and raises a `TrioproxyError` for what it will not serve; the application turns that into a response.
"""
