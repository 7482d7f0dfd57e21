"""``manage.py shipper``: settle this host's journals until told to stop."""

from __future__ import annotations

import argparse
import faulthandler
import gc
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.backends.signals import connection_created

from apps.contracts.captures import SPOOL
from apps.contracts.env import Reader
from apps.settlement.captures import CaptureSpool
from apps.settlement.host_lock import HostLock, ShipperBusy
from apps.settlement.metrics import ShipperMetrics
from apps.settlement.presence import organisation_name
from apps.settlement.scrape import ScrapePort
from apps.settlement.shipper import Shipper
from controlplane import env

if TYPE_CHECKING:
    from apps.settlement.tracing import Traces


class Command(BaseCommand):
    help = "Settle the journals of this host's proxies in Postgres: usage, rollups and budgets, each record exactly once."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--journal-dir", type=Path, help="where the journals are (default: BULKHEAD_JOURNAL_DIR or DATA_DIR/journal)")
        parser.add_argument(
            "--no-wait", action="store_true", help="exit with an error when another shipper runs, instead of waiting for its end"
        )
        parser.add_argument("--once", action="store_true", help="settle what is there and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        faulthandler.register(signal.SIGUSR1)  # kill -USR1: where every thread stands, in the log
        root: Path = options["journal_dir"] or Reader().path("BULKHEAD_JOURNAL_DIR", str(env.data_dir() / "journal"))
        try:
            lock = HostLock(root)
        except OSError as error:
            raise CommandError(f"the journal directory {root} cannot be used: {error.strerror}; set BULKHEAD_JOURNAL_DIR") from error
        if not self._take(lock, stop, wait=not options["no_wait"]):
            return
        connection_created.connect(_session_settings)
        # A batch is tens of thousands of objects without a cycle among them: collecting often would only look at them again.
        gc.freeze()
        gc.set_threshold(200_000, 20, 100)
        if options["once"]:
            stop.set()
        traces, captures = self._traces(), self._captures()
        shipper = Shipper(root, status=env.data_dir() / "run" / "shipper.json", traces=traces, metrics=ShipperMetrics(organisation_name))
        port = None if options["once"] else self._scrape_port(shipper)
        shipper.run(stop)
        if port is not None:
            port.stop()
        if captures is not None:
            captures.stop()
        if traces is not None:
            traces.stop()
        connection.close()
        lock.release()

    def _traces(self) -> Traces | None:
        """What exports traces, started; None where no collector is named: its libraries are megabytes that nobody then needs."""
        if not Reader().text("BULKHEAD_TRACES_URL", ""):
            return None
        from apps.settlement.tracing import Traces

        traces = Traces.of_settings(Reader())
        if traces is not None:
            traces.start()
        return traces

    def _captures(self) -> CaptureSpool | None:
        """What takes captured samples to Postgres, started; None where there is no key that could open them."""
        sealing = env.secret("BULKHEAD_SEAL_KEY", "seal_key")
        if sealing is None:
            return None
        try:
            key = Fernet(sealing)
        except ValueError:
            self.stderr.write("BULKHEAD_SEAL_KEY is no Fernet key (32 random bytes in url-safe base64): captured samples wait until it is")
            return None
        spool = CaptureSpool(Reader().path("BULKHEAD_CAPTURE_DIR", str(env.data_dir() / SPOOL)), key)
        spool.start()
        return spool

    def _scrape_port(self, shipper: Shipper) -> ScrapePort:
        """Serves /metrics, where BULKHEAD_SHIPPER_METRICS_HOST and _PORT say."""
        host = Reader().text("BULKHEAD_SHIPPER_METRICS_HOST", "127.0.0.1")
        number = Reader().integer("BULKHEAD_SHIPPER_METRICS_PORT", 0)
        try:
            port = ScrapePort(host, number, shipper.families)
        except (OSError, OverflowError) as error:
            raise CommandError(
                f"the shipper cannot serve its metrics on {host}:{number}: {error}; set BULKHEAD_SHIPPER_METRICS_HOST and "
                "BULKHEAD_SHIPPER_METRICS_PORT to an address that is free (port 0: any)"
            ) from error
        shipper.metrics_url = port.url
        port.start()
        return port

    def _take(self, lock: HostLock, stop: threading.Event, *, wait: bool) -> bool:
        told = False
        while not stop.is_set():
            try:
                lock.take()
                return True
            except ShipperBusy as error:
                if not wait:
                    raise CommandError(f"{error}; stop it first, or start without --no-wait") from None
                if not told:
                    self.stderr.write(f"{error}; waiting for its end")
                    told = True
                stop.wait(0.2)
        return False


def _session_settings(*, connection: Any, **kwargs: Any) -> None:
    """Segments are deleted after a commit, so a commit must survive Postgres: an asynchronous default is overruled."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
        cursor.execute("SET application_name = 'bulkhead-shipper'")
