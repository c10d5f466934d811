"""The tests mirror the package: `tests/test_child.py` is about `trioproxy/child.py`.  Names say what an observer sees."""
