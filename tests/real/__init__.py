"""Real clients meet real servers, with the proxy between them as a process of its own."""

import pytest

# Its tests are in a base class, where pytest would not look for assertions to explain.
pytest.register_assert_rewrite(f"{__name__}.contract", f"{__name__}.driven_client")
