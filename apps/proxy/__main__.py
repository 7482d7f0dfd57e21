"""One proxy process: ``python -m apps.proxy``. All settings come from ``BULKHEAD_*`` (see ``ProxySettings``)."""

from __future__ import annotations

import sys

from apps.proxy.process import main

if __name__ == "__main__":
    sys.exit(main())
