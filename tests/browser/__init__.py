"""Pages in a real Chromium. ``WHOLE``: the long run, with every look of every page."""

import os

WHOLE = os.environ.get("BULKHEAD_ACCEPT") == "1"
