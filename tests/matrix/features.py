"""All features, in the order of the table."""

from __future__ import annotations

# ruff: isort: off
from . import requests
from . import notices
from . import questions
from .feature import FEATURES

__all__ = ["FEATURES", "notices", "questions", "requests"]
