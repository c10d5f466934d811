"""What subscribing to a resource means (2025-11-25, Resources §Subscriptions).

A server that announces a change names the resource that has changed: the one that was subscribed to, or "a sub-resource" of
it (ResourceUpdatedNotificationParams).  What that is, the revisions leave to the reader: here, whatever is below it in the
hierarchy of its URI (RFC 3986 §1.2.3), its queries and fragments included.
"""

from __future__ import annotations

from typing import Final

SUBSCRIBE: Final = "resources/subscribe"
UNSUBSCRIBE: Final = "resources/unsubscribe"
RESOURCE_UPDATED: Final = "notifications/resources/updated"

_SEPARATORS: Final = ("/", "?", "#")


def is_within(uri: str, subscribed: str) -> bool:
    """Tell whether `uri` is the resource `subscribed`, or a sub-resource of it."""
    return uri == subscribed or (
        uri.startswith(subscribed) and (subscribed.endswith(_SEPARATORS) or uri[len(subscribed)] in _SEPARATORS)
    )
