"""Replicas follow what is wanted, for a site without Celery: ``python -m tests.browser.fleet_follow``. The database: ``DATABASE_URL``."""

from __future__ import annotations

import os
import time


def follow() -> None:
    from apps.fleet.reconciling import fleet_reconcile

    while True:
        fleet_reconcile()
        time.sleep(0.5)


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()
    follow()
