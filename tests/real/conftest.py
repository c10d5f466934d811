import pytest


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Here one proxy serves all tests of a module, so that it is `open_proxy` who looks for what has been left."""
