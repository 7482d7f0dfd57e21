"""One proxy process: ``python -m apps.proxy``. All settings come from ``BULKHEAD_*`` (see ``ProxySettings``)."""

from __future__ import annotations

import sys

from apps.proxy import compiled


def run() -> int:
    try:
        compiled.install()
    except (compiled.NotCompiled, ValueError) as error:
        print(f"proxy: {error}", file=sys.stderr)
        return 2
    from apps.proxy.process import main  # what it imports may be compiled: found only from here on

    return main()


if __name__ == "__main__":
    sys.exit(run())
