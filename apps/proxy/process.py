"""The life of one proxy process: settings, start, config, readiness, drain.

Start: lock a journal, boot from the database or from last-known-good, open the admin port, then the public one (SO_REUSEPORT: N
identical processes share it). Stop (SIGTERM, SIGINT): not ready, finish what runs, give leases back, seal the journal.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn
import uvloop
from cryptography.fernet import Fernet

from apps.contracts.captures import SPOOL
from apps.contracts.env import Reader, SettingError
from apps.contracts.fleet import EndpointFacts
from apps.contracts.identifiers import uuid7
from apps.contracts.leases import LeaseState
from apps.contracts.logs import logs_configure
from apps.contracts.networks import NetworkError, Networks
from apps.contracts.snapshot import SnapshotError
from apps.proxy import lastgood
from apps.proxy.admin import AdminApp
from apps.proxy.capture import Recorder
from apps.proxy.compiled import in_use
from apps.proxy.compiler import CompileError
from apps.proxy.engine import Engine
from apps.proxy.errors import StartError
from apps.proxy.exposures import Exposures
from apps.proxy.fleet.follow import FILE as REPLICAS_FILE
from apps.proxy.fleet.follow import FactsFollower
from apps.proxy.fleet.watch import Watch
from apps.proxy.gauges import Gauges
from apps.proxy.hints import Hints, UrlError, checked_url
from apps.proxy.holder import Holder
from apps.proxy.http.limits import ServerLimits
from apps.proxy.http.server import make_protocol
from apps.proxy.journal import Journal, segment_bytes_for
from apps.proxy.leases import Leases
from apps.proxy.limits_shares import ShareKeeper
from apps.proxy.operations import UPLOADS
from apps.proxy.overrides import Overrides
from apps.proxy.probe import Prober
from apps.proxy.report import Report
from apps.proxy.response_shelf import ResponseShelf, ShelfRules
from apps.proxy.server import PublicApp
from apps.proxy.steps.authenticate import Authenticator
from apps.proxy.store import Store, StoreAway

if TYPE_CHECKING:
    from apps.proxy.limits_redis import RedisPool
    from apps.proxy.shared import RedisShared

log = logging.getLogger("bulkhead.proxy")

ADMIN_FILE = "admin.json"
DRAIN_SECONDS = 150
"""Longer than the longest total deadline: a running stream is finished, not cut."""
LOOKS = 4
"""How often a second this process's own state is looked at, for the next heartbeat."""


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Every setting of the process. database_url empty: standalone, config from ``config_file`` only. redis_url empty: breakers decide
    without the other proxies' hints. trusted_proxies: before this one, whose word about a client's address is taken; None: nobody's."""

    name: str
    host: str
    port: int
    admin_host: str
    admin_port: int
    database_url: str
    journal_dir: Path
    journal_max_bytes: int
    journal_fsync_ms: int
    config_file: Path
    pepper: bytes
    seal_key: bytes
    max_body_bytes: int
    max_upload_bytes: int
    certificate: str
    private_key: str
    redis_url: str
    overrides_dir: Path
    capture_dir: Path
    trusted_proxies: Networks | None = None
    responses: ShelfRules | None = None
    aws_default: bool = False

    @classmethod
    def read(cls, environ: dict[str, str] | None = None) -> ProxySettings:
        """Raises SettingError naming the variable."""
        read = Reader(environ)
        name = read.text("BULKHEAD_PROXY_NAME", "proxy-1")
        data = read.path("BULKHEAD_DATA_DIR", "var")
        return cls(
            name=name,
            host=read.text("BULKHEAD_PROXY_HOST", "127.0.0.1"),
            port=read.integer("BULKHEAD_PROXY_PORT", 8080, minimum=0),
            admin_host=read.text("BULKHEAD_PROXY_ADMIN_HOST", "127.0.0.1"),
            admin_port=read.integer("BULKHEAD_PROXY_ADMIN_PORT", 0, minimum=0),
            database_url=read.text("BULKHEAD_PROXY_DATABASE_URL", ""),
            journal_dir=read.path("BULKHEAD_JOURNAL_DIR", str(data / "journal")),
            journal_max_bytes=read.integer("BULKHEAD_JOURNAL_MAX_BYTES", 1 << 30, minimum=1 << 20),
            journal_fsync_ms=read.integer("BULKHEAD_JOURNAL_FSYNC_MS", 100, minimum=1),
            config_file=read.path("BULKHEAD_CONFIG_FILE", str(data / "proxy" / name / "config.lkg")),
            pepper=_secret(read, "BULKHEAD_KEY_PEPPER", data / "secrets" / "key_pepper"),
            seal_key=_secret(read, "BULKHEAD_SEAL_KEY", data / "secrets" / "seal_key"),
            max_body_bytes=read.integer("BULKHEAD_MAX_BODY_BYTES", 10_000_000, minimum=1024),
            max_upload_bytes=read.integer("BULKHEAD_MAX_UPLOAD_BYTES", 30_000_000, minimum=1024),
            certificate=read.text("BULKHEAD_PROXY_TLS_CERTIFICATE", ""),
            private_key=read.text("BULKHEAD_PROXY_TLS_KEY", ""),
            redis_url=_redis_url(read),
            overrides_dir=read.path("BULKHEAD_OVERRIDES_DIR", str(data / "proxy" / "overrides")),
            capture_dir=read.path("BULKHEAD_CAPTURE_DIR", str(data / SPOOL)),
            trusted_proxies=_trusted(read),
            responses=_responses(read),
            aws_default=read.flag("BULKHEAD_AWS_DEFAULT_CHAIN", False),
        )


def _secret(read: Reader, name: str, file: Path) -> bytes:
    """From the environment, else from the data directory, as the launcher leaves it."""
    if not os.environ.get(name) and not os.environ.get(f"{name}_FILE") and file.is_file():
        return file.read_bytes().strip()
    return read.secret(name)


def _responses(read: Reader) -> ShelfRules:
    """How long stored responses are kept, how large they may be, and whether those are that nobody asked for."""
    return ShelfRules(
        keep_seconds=read.integer("BULKHEAD_RESPONSES_DAYS", 30, minimum=1) * 86_400,
        max_bytes=read.integer("BULKHEAD_RESPONSES_MAX_BYTES", 4_000_000, minimum=1024),
        max_chain=read.integer("BULKHEAD_MAX_BODY_BYTES", 10_000_000, minimum=1024),
        unasked=read.flag("BULKHEAD_RESPONSES_STORE_UNASKED", False),
    )


def _trusted(read: Reader) -> Networks | None:
    """The proxies before this one whose ``x-forwarded-for`` is believed; None: nobody's."""
    text = read.text("BULKHEAD_TRUSTED_PROXIES", "")
    try:
        return Networks(part for part in text.replace(",", " ").split()) if text.strip() else None
    except NetworkError as error:
        raise SettingError(f"BULKHEAD_TRUSTED_PROXIES={text[:200]!r} cannot be used: {error}") from None


def _redis_url(read: Reader) -> str:
    url = read.text("BULKHEAD_PROXY_REDIS_URL", "")
    try:
        return checked_url(url) if url else ""
    except UrlError as error:
        raise SettingError(f"BULKHEAD_PROXY_REDIS_URL cannot be used: {error}") from None


class _NoStore:
    """Standalone: no budgets can be checked, so hard ones are closed."""

    async def lease_grant(self, wants: Any) -> list[LeaseState]:
        raise StoreAway("this proxy has no database")

    async def lease_return(self, returns: Any) -> list[LeaseState]:
        raise StoreAway("this proxy has no database")

    async def lease_sync(self) -> list[LeaseState]:
        raise StoreAway("this proxy has no database")

    async def replica_facts(self, epoch: int, after: int) -> EndpointFacts | None:
        raise StoreAway("this proxy has no database")


class ConfigFollower:
    """Fetches deltas one after another, swaps them in, keeps last-known-good, acknowledges."""

    def __init__(self, store: Store, holder: Holder, file: Path) -> None:
        self._store = store
        self._holder = holder
        self._file = file
        self._wanted = asyncio.Event()
        self._saved = holder.current.version
        self.failure = ""

    def head_seen(self, head: int) -> None:
        if head != self._holder.current.version:
            self._wanted.set()

    async def run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._follow()
                self.failure = ""
            except StoreAway:
                continue  # the store tells the head again when it is back
            except (SnapshotError, CompileError, ValueError) as error:
                self.failure = str(error)
                log.error("config not taken over, v%d stays in force: %s", self._holder.current.version, error)
                self._store.detail = {**self._store.detail, "config_error": self.failure}
                self._store.beat_soon()

    async def _follow(self) -> None:
        delta = await self._store.config_delta(self._holder.current.version)
        if delta.version == self._holder.current.version:
            return
        if delta.version < self._holder.current.version:
            # the database was restored to an older state: start over from what it says
            log.warning("the database is at v%d, behind v%d: taking its whole config", delta.version, self._holder.current.version)
            delta = await self._store.config_delta(0)
        started = time.perf_counter()
        self._holder.apply(delta)
        self._store.version = delta.version
        self._store.detail.pop("config_error", None)
        self._store.beat_soon()
        log.info("config v%d in force: %d changes in %.1f ms", delta.version, len(delta.changes), (time.perf_counter() - started) * 1000)

    async def keep(self) -> None:
        """Writes last-known-good in a thread, at most once a second."""
        while True:
            await asyncio.sleep(1)
            await self.save()

    async def save(self) -> None:
        version = self._holder.current.version
        if version == self._saved or version == 0:
            return
        try:
            await asyncio.to_thread(lastgood.save, self._file, self._holder.whole())
            self._saved = version
        except OSError as error:
            log.error("last-known-good config cannot be written to %s: %s", self._file, error)


class _Server(uvicorn.Server):
    """uvicorn's server, telling us when it begins to drain, and leaving the process alive to put its things in order."""

    def __init__(self, config: uvicorn.Config, draining: Callable[[], None]) -> None:
        super().__init__(config)
        self._draining = draining
        self._loop = asyncio.get_running_loop()
        self._told = asyncio.Event()

    async def main_loop(self) -> None:
        """Until it is told to end. uvicorn looks ten times a second, and renders a Date header that nobody here uses."""
        await self._told.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn raises the signal again once it is done, which would end us before the journal is sealed."""
        handled = (signal.SIGTERM, signal.SIGINT)
        before = {sig: signal.signal(sig, self.handle_exit) for sig in handled}
        try:
            yield
        finally:
            for sig in handled:
                signal.signal(sig, before[sig])

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._draining()
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._told.set)


def _listen(host: str, port: int, *, shared: bool) -> socket.socket:
    """``shared``: other proxies may listen there too. An admin port is one process's: shared by accident, it would get others' requests."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise StartError(f"The proxy cannot listen on {host}:{port}: {error.strerror}. Is another service using it?") from None
    sock.setblocking(False)
    return sock


async def serve(settings: ProxySettings) -> None:
    boot_id = str(uuid7())
    loop = asyncio.get_running_loop()
    try:
        fernet = Fernet(settings.seal_key)
    except ValueError:
        raise StartError("BULKHEAD_SEAL_KEY is no Fernet key: 32 random bytes in url-safe base64.") from None
    clock = {"offset_us": 0}

    def now_ms() -> int:
        """Database time as last measured."""
        return (time.time_ns() // 1000 + clock["offset_us"]) // 1000

    holder = Holder(lambda sealed: fernet.decrypt(sealed.encode()), now_ms)
    try:
        saved = lastgood.load(settings.config_file)
        if saved is not None:
            holder.apply(saved)
            log.info("booted from last-known-good config v%d", holder.current.version)
    except (lastgood.LastGoodError, SnapshotError, CompileError, ValueError) as error:
        if not settings.database_url:
            raise StartError(f"The config file cannot be used: {error}") from error
        log.error("last-known-good config not used: %s", error)
    if not settings.database_url and holder.current.version == 0:
        raise StartError(f"There is no database (BULKHEAD_PROXY_DATABASE_URL) and no config at {settings.config_file}.")
    journal = Journal.create(
        settings.journal_dir,
        boot_id=boot_id,
        name=settings.name,
        max_bytes=settings.journal_max_bytes,
        fsync_ms=settings.journal_fsync_ms,
        segment_bytes=segment_bytes_for(settings.journal_max_bytes),
    )
    public = _listen(settings.host, settings.port, shared=True)
    admin = _listen(settings.admin_host, settings.admin_port, shared=False)
    store = Store(settings.database_url, boot_id) if settings.database_url else None
    authenticator = Authenticator(settings.pepper, settings.trusted_proxies)
    leases = Leases(store or _NoStore(), now_ms=now_ms)
    shared: RedisShared | None = None
    if settings.redis_url:
        from apps.proxy.shared import RedisShared  # its library is megabytes that a proxy without Redis need not hold

        shared = RedisShared(settings.redis_url)
    engine = Engine(
        boot_id=boot_id,
        holder=holder,
        journal=journal,
        leases=leases,
        authenticator=authenticator,
        hash_key=settings.pepper,
        shared=shared,
        aws_default=settings.aws_default,
    )
    engine.fleet.unseal = lambda sealed: fernet.decrypt(sealed.encode())
    states = engine.states
    hints = Hints(states.breakers, settings.redis_url, boot_id, loop.time, states.drain) if settings.redis_url else None
    pool: RedisPool | None = None
    if settings.redis_url:
        from apps.proxy.limits_redis import RedisPool

        pool = RedisPool(settings.redis_url, boot_id)
    keeper = engine.shares = ShareKeeper(engine.limits, pool, store.proxies_live if store is not None else None)
    prober = Prober(engine.states.breakers, engine.states.find, engine.pool, loop.time)
    recorder = engine.recorder = Recorder(settings.capture_dir, fernet, now_ms)
    overrides = Overrides(settings.overrides_dir, holder, now_ms)
    overrides.load()
    token = secrets.token_urlsafe(24)
    _announce(settings, admin, boot_id, token)
    admin_app = AdminApp(engine, store, boot_id=boot_id, name=settings.name, overrides=overrides, token=token)
    replicas = FactsFollower(store or _NoStore(), engine.fleet, settings.config_file.with_name(REPLICAS_FILE))
    replicas.load()
    watch = Watch(engine, engine.fleet)
    works = (journal.run(), engine.sweep(), leases.run(), prober.run(), keeper.run(), recorder.run(), watch.run())
    background = [loop.create_task(work) for work in works]
    background.append(loop.create_task(engine.credentials.tokens.run()))
    if hints is not None:
        background.append(loop.create_task(hints.run()))

    def draining() -> None:
        admin_app.draining = True
        if store is not None:
            store.state = "draining"
            store.beat_soon()

    follower: ConfigFollower | None = None
    if store is not None:
        host, port = admin.getsockname()[:2]
        scheme = "https" if settings.certificate else "http"
        store.identity = {
            "name": settings.name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "public_url": f"{scheme}://{settings.host}:{public.getsockname()[1]}",
            "admin_url": f"http://{host}:{port}",
        }
        store.version = holder.current.version
        follower = ConfigFollower(store, holder, settings.config_file)
        store.on_config = follower.head_seen
        store.on_recall = leases.recall
        store.on_replicas = replicas.head_seen
        engine.fleet.on_held = store.beat_soon

        def clock_measured(offset_us: int) -> None:
            clock["offset_us"] = engine.offset_us = offset_us
            authenticator.offset_ms = offset_us // 1000

        store.on_clock = clock_measured
        background += [loop.create_task(work) for work in (store.run(), follower.run(), follower.keep(), replicas.run())]
        engine.report = Report(engine.states, loop.time, now_ms)
        engine.report.credentials = engine.credentials
        exposures = Exposures(holder, engine.metrics)
        gauges = Gauges(engine)
        store.gauges = gauges.detail
        background.append(loop.create_task(_report_state(store, admin_app, hints, keeper, engine.report, overrides, exposures, gauges)))
    # Requests leave no reference cycles behind, so the collector need not walk the config again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    shelf = ResponseShelf(store, settings.pepper, settings.responses)
    try:
        limits = ServerLimits(body_bytes=settings.max_body_bytes, uploads=UPLOADS, upload_bytes=settings.max_upload_bytes)
        config = uvicorn.Config(
            app=_unused_app,
            http=make_protocol(PublicApp(engine, store, shelf), limits),
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            backlog=4096,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            ssl_certfile=settings.certificate or None,
            ssl_keyfile=settings.private_key or None,
        )
        server = _Server(config, draining)
        admin_config = uvicorn.Config(
            app=_unused_app, http=make_protocol(admin_app), loop="none", lifespan="off", log_config=None, access_log=False
        )
        admin_task = loop.create_task(_serve_admin(admin_config, admin))
        background.append(admin_task)
        log.info("proxy %s (%s) on %s:%d, admin on %s:%d", settings.name, boot_id, *public.getsockname()[:2], *admin.getsockname()[:2])
        await server.serve(sockets=[public])
    finally:
        draining()
        if follower is not None:
            await follower.save()
        await leases.close()
        await keeper.close()
        for task in reversed(background):
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        if shared is not None:
            await shared.close()
        if pool is not None:
            await pool.close()
        journal.close()
        admin.close()
        public.close()


async def _serve_admin(config: uvicorn.Config, sock: socket.socket) -> None:
    """The admin port's listener: no signals, no shutdown of its own; it lives as long as the process."""
    from uvicorn.server import ServerState

    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: config.http_protocol_class(config=config, server_state=state, app_state={}),  # type: ignore[call-arg]
        sock=sock,
    )
    async with server:
        await server.serve_forever()


def _announce(settings: ProxySettings, admin: socket.socket, boot_id: str, token: str) -> None:
    """Says beside the overrides, to whoever may read there, where the admin port is and what opens it to them."""
    host, port = admin.getsockname()[:2]
    told = {"name": settings.name, "boot_id": boot_id, "pid": os.getpid(), "token": token}
    told["admin_url"] = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    path = settings.overrides_dir.parent / settings.name / ADMIN_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = path.with_suffix(f".{os.getpid()}.new")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(told))
        beside.replace(path)
    except OSError as error:
        log.error("%s cannot be written (%s): manage.py override will not find this proxy", path, error)


async def _report_state(
    store: Store,
    admin: AdminApp,
    hints: Hints | None,
    keeper: ShareKeeper,
    report: Report,
    overrides: Overrides,
    exposures: Exposures,
    gauges: Gauges,
) -> None:
    """Keeps what the next heartbeat says true; of targets, to a second, and of exposures, to ten: what they do must not become a storm of
    heartbeats. A deployment's load that moves is told once a second at most."""
    targets: dict[str, Any] = {}
    flags: dict[str, Any] = {}
    for number in itertools.count():
        if number % (10 * LOOKS) == 0:
            flags = exposures.detail()
        if number % LOOKS == 0:
            gauges.sample()
            targets = report.detail()
            told = overrides.told()
            targets |= {"overrides": told} if told else {}
        if number % (LOOKS // 2) == 0 and gauges.load_moved(time.monotonic()):
            store.beat_soon()
        reasons = admin.readiness()
        state = "draining" if admin.draining else "unready" if reasons else "ready"
        detail = {k: v for k, v in store.detail.items() if k == "config_error"}
        if reasons:
            detail["reasons"] = reasons
        if hints is not None:
            detail |= hints.detail()
        detail |= keeper.detail()
        detail |= targets
        detail |= flags
        if state != store.state or detail != store.detail:
            store.state, store.detail = state, detail
            store.beat_soon()
        await asyncio.sleep(1 / LOOKS)


async def _unused_app(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("requests go to the protocol class, never through ASGI")


def main() -> int:
    try:
        logs_configure("proxy")
        settings = ProxySettings.read()
    except SettingError as error:
        print(f"proxy: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log.info("hot path: %s", "compiled" if in_use() else "interpreted")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except StartError as error:
        print(f"proxy: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0
