"""What a feature is: a scene, played in the same words in every cell.

A scene expects to the letter what its client's era has; where the eras say the same thing differently, it has both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from .cells import Stage

Scene = Callable[[Stage], Awaitable[None]]

FEATURES: Final[dict[str, Scene]] = {}
"""By name."""


def feature(name: str) -> Callable[[Scene], Scene]:
    """Register a scene."""

    def register(scene: Scene) -> Scene:
        FEATURES[name] = scene
        return scene

    return register


def text(words: str, **more: Any) -> dict[str, Any]:
    """Return what a tool says that has something to say."""
    return {"content": [{"type": "text", "text": words}], **more}
