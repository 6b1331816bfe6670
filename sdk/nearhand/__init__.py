"""Nearhand: personalization that runs on the user's own device.

>>> from nearhand import Event, Personalizer  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nearhand.config import Config
from nearhand.errors import BundleError, EventError, NearhandError, UsageError
from nearhand.events import Event
from nearhand.explain import Evidence, Explanation
from nearhand.lazily import lazily
from nearhand.personalizer import Personalizer
from nearhand.recommending import Recommendation
from nearhand.version import __version__

if TYPE_CHECKING:
    from nearhand.status import Status
else:
    __getattr__ = lazily(__name__, {"status": ["Status"]})

__all__ = [
    "BundleError",
    "Config",
    "Event",
    "EventError",
    "Evidence",
    "Explanation",
    "NearhandError",
    "Personalizer",
    "Recommendation",
    "Status",
    "UsageError",
    "__version__",
]
