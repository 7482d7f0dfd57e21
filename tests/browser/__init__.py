"""Pages in a real Chromium. ``WHOLE``: the long run, with every look of every page."""

import os

WHOLE = os.environ.get("BULKHEAD_ACCEPT") == "1"
LONG_MS = 120_000
"""How long a page may take on a busy machine before a test gives up."""
