"""The Django project: settings, the launcher, config as code, the demo.

``celery -A controlplane`` finds its application as ``controlplane.app``; it is imported only when asked for, so that the
launcher (which imports this package) stays free of Celery and Django.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "app":
        from controlplane.celery import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
