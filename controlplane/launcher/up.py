"""``manage.py up``: one machine's whole Bulkhead, from nothing to answering, and back to nothing on Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from honcho.printer import Printer

from controlplane.demo.state import DemoState, demo_state, demo_state_change
from controlplane.launcher import engine, keys, preflight, prepare, probe, stores
from controlplane.launcher.instance import Instance, InstanceError, Lock
from controlplane.launcher.postgres import OWNER, PROXY, Postgres
from controlplane.launcher.postgres_place import PostgresError
from controlplane.launcher.preflight import PreflightError
from controlplane.launcher.procfile import ProcessSpec, Procfile, ProcfileError
from controlplane.launcher.redis import Redis, RedisError, free_port
from controlplane.launcher.supervisor import Child, Supervisor
from controlplane.launcher.welcome import welcome

ROOT = Path(__file__).resolve().parent.parent.parent
READY_SECONDS = 90.0
DRAIN_SECONDS = 30.0
"""How long proxies may finish what they are streaming; a second Ctrl-C ends it."""
SETTLE_SECONDS = 15.0
STORE_SECONDS = 20.0
SIMULATORS = ("sim-east", "sim-west")
GIVE_UP_STARTS = 4
"""A process that died this often before it was ever ready stops ``up``, with its log."""

LaunchErrors = (InstanceError, PreflightError, PostgresError, RedisError, ProcfileError)


class LaunchError(Exception):
    """A step of the start failed; the message carries the end of the log that tells why."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line chose. ``data_dir`` is absolute."""

    data_dir: Path
    web_port: int = 8000
    proxy_port: int = 8080
    proxies: int = 1
    demo: bool = True
    """Not again once it was removed, except by ``demo_again``."""
    demo_again: bool = False
    quiet: bool = False
    """The demo without requests and a past of its own: for measurements, whose figures must be theirs alone."""
    greet: bool = True
    """False in the background: the terminal shows the welcome, its password and its keys; a log file must not keep them."""
    engine: bool = False
    """The demo's worker also serves a tiny model by the built-in engine."""

    def arguments(self) -> list[str]:
        return [
            *("--data-dir", str(self.data_dir), "--web-port", str(self.web_port), "--proxy-port", str(self.proxy_port)),
            *("--proxies", str(self.proxies), *(() if self.demo else ("--no-demo",))),
            *(("--demo",) if self.demo_again else ()),
            *(("--quiet-demo",) if self.quiet else ()),
            *(("--engine",) if self.engine else ()),
        ]


class Up:
    """One run of the launcher. ``run`` returns the process's exit code."""

    def __init__(self, options: Options, *, output: TextIO = sys.stdout) -> None:
        self.options = options
        self.output = output
        self.instance = Instance(options.data_dir)
        self.web_host = os.environ.get("BULKHEAD_WEB_HOST") or "127.0.0.1"
        self.worker_nice = os.environ.get("BULKHEAD_WORKER_NICE") or "10"
        self.proxy_host = os.environ.get("BULKHEAD_PROXY_HOST") or "127.0.0.1"
        self.stopping = asyncio.Event()
        self.hurry = asyncio.Event()
        self.demo = options.demo
        self.facts: dict[str, Any] = {}
        self.database: Postgres | str = ""
        self.broker: Redis | str = ""
        self.ready = False
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- the whole ---------------------------------------------------------------------------------------------

    async def run(self) -> int:
        began = time.monotonic()
        try:
            preflight.check_system()
            self.instance.make()
            with Lock(self.instance), self._signals():
                stale = self.instance.up_json.exists()
                self.instance.forget()
                self._preflight(stale)
                supervisor = Supervisor(
                    directory=ROOT,
                    logs=self.instance.logs,
                    printer=Printer(self.output, width=8),
                    on_change=lambda: self._publish(supervisor),
                )
                try:
                    await self._unless_stopped(self._start(supervisor))
                    if not self.stopping.is_set():
                        if self.demo:
                            self._watch_demo(supervisor)
                        if self.options.greet:
                            self._line(welcome(self.facts, seconds=time.monotonic() - began))
                        await self.stopping.wait()
                finally:
                    await self._stop(supervisor)
                    self.instance.forget()
        except (*LaunchErrors, LaunchError) as error:
            self._line(f"\nBulkhead cannot start: {error}")
            return 1
        return 0

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            if self.stopping.is_set():
                self.hurry.set()
            else:
                self._line("\nStopping; once more ends what still drains.")
                self.stopping.set()

        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(signum, on_signal)
        yield

    async def _unless_stopped(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    # ---- steps -------------------------------------------------------------------------------------------------

    def _preflight(self, stale: bool) -> None:
        options = self.options
        if options.proxies < 1:
            raise PreflightError(f"--proxies {options.proxies}: at least one is needed")
        if options.web_port == options.proxy_port:
            raise PreflightError(f"--web-port and --proxy-port are both {options.web_port}: choose two different ports")
        wait = 3.0 if stale else 0.0
        preflight.check_port(self.web_host, options.web_port, "--web-port", wait=wait)
        preflight.check_port(self.proxy_host, options.proxy_port, "--proxy-port", wait=wait)
        preflight.check_disk(options.data_dir)
        if warning := preflight.raise_file_limit():
            self._line(f"  !!  {warning}")
        self._line("  ok  this machine: ports, disk, open files")

    async def _start(self, supervisor: Supervisor) -> None:
        procfile = Procfile(ROOT / "Procfile")
        made = keys.make_all(self.options.data_dir)
        environment = self._environment()
        self._choose_demo()
        if self.demo:
            environment |= self._simulator_ports()
            for name in SIMULATORS:
                supervisor.start(procfile.spec(name, environment))
        environment |= self._start_stores(supervisor, procfile, environment, made)
        if self.options.engine:
            await self._make_model(supervisor)
        # The dashboard's process imports for a second before it needs the database: it does so while that starts.
        supervisor.start(procfile.spec("web", environment))
        environment["BULKHEAD_PROXY_DATABASE_URL"] = await self._stores_answer(supervisor, made)
        environment["BULKHEAD_PROXY_REDIS_URL"] = stores.proxy_redis(self.broker)
        async with self._step("database and first login") as note:
            note(await self._prepare(supervisor, environment, made["key_pepper"]))
        async with self._step("processes") as note:
            await self._processes(supervisor, procfile, environment)
            note(
                f"web, {self.options.proxies} prox{'y' if self.options.proxies == 1 else 'ies'}, shipper, worker, beat"
                + ", simulators" * self.demo
            )
        if "engine_model" in self.facts:
            await self._engine_serves()
        self.ready = True
        self._publish(supervisor)

    def _choose_demo(self) -> None:
        """A demo that was removed stays away until somebody asks for it."""
        if self.options.demo_again:
            demo_state_change(self.options.data_dir, lambda now: DemoState())
        elif self.demo and demo_state(self.options.data_dir).removed:
            self.demo = False
            self._line("  ok  the demo was removed: `up --demo` brings it back")

    def _watch_demo(self, supervisor: Supervisor) -> None:
        """Stop what belongs to the demo as soon as it is removed."""

        async def until(condition: Callable[[DemoState], bool]) -> bool:
            """False when everything stops first. It ends by itself then: a wait that is over swallows a cancellation."""
            while not condition(demo_state(self.options.data_dir)):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), 1.0)
                    return False
            return True

        async def watch() -> None:
            if not await until(lambda state: state.removed):
                return
            await supervisor.stop(["traffic"], grace=SETTLE_SECONDS)
            if not await until(lambda state: state.gone):
                return
            await supervisor.stop(["agent", *SIMULATORS], grace=SETTLE_SECONDS)
            for name in ("agent", "traffic", *SIMULATORS):
                supervisor.children.pop(name, None)
            for name in ("key", "model", "embedding_model", "engine_model"):
                self.facts.pop(name, None)
            self.facts["simulators"] = []
            self._publish(supervisor)

        task = asyncio.get_running_loop().create_task(watch())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _environment(self) -> dict[str, str]:
        """What every process may know; the Procfile's reader takes away what a pure process must not."""
        data_dir, options = self.options.data_dir, self.options
        if self.worker_nice not in map(str, range(20)):
            raise LaunchError(f"BULKHEAD_WORKER_NICE is {self.worker_nice!r}: it must be a whole number from 0 (does not step back) to 19")
        environment = dict(os.environ)
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "/usr/bin:/bin")])
        environment.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # usual in containers; here every start would compile Django anew
        environment |= {
            "PYTHONUNBUFFERED": "1",
            "BULKHEAD_DATA_DIR": str(data_dir),
            "BULKHEAD_WEB_HOST": self.web_host,
            "BULKHEAD_WORKER_NICE": self.worker_nice,
            "BULKHEAD_WEB_PORT": str(options.web_port),
            "BULKHEAD_PROXY_HOST": self.proxy_host,
            "BULKHEAD_PROXY_PORT": str(options.proxy_port),
            "BULKHEAD_JOURNAL_DIR": str(data_dir / "journal"),
        }
        for variable, name in (
            ("BULKHEAD_SECRET_KEY", "django_secret"),
            ("BULKHEAD_MASTER_KEY", "master_key"),
            ("BULKHEAD_SEAL_KEY", "seal_key"),
            ("BULKHEAD_KEY_PEPPER", "key_pepper"),
        ):
            if not environment.get(variable) and not environment.get(f"{variable}_FILE"):
                environment[f"{variable}_FILE"] = str(data_dir / "secrets" / name)
        return environment

    def _start_stores(
        self, supervisor: Supervisor, procfile: Procfile, environment: dict[str, str], made: dict[str, str]
    ) -> dict[str, str]:
        """Start Postgres and Redis where they are embedded, without waiting; the variables that name them or the operator's own."""
        self.database = stores.database(self.options.data_dir)
        self.broker = stores.broker(self.options.data_dir, made)
        database_url, redis_url = self.database, self.broker
        if isinstance(self.database, Postgres):
            self.database.prepare(replace=True)  # what is wrong surfaces here with its advice, not in a log
            supervisor.start(procfile.spec("postgres", environment))
            database_url = self.database.url(user=OWNER)
        if isinstance(self.broker, Redis):
            supervisor.start(procfile.spec("redis", {**environment, "BULKHEAD_REDIS_PORT": str(self.broker.port)}))
            self.facts.setdefault("ports", {})["redis"] = self.broker.port
            redis_url = self.broker.url
        self.facts |= {"database_url": database_url, "redis_url": redis_url}
        return {"DATABASE_URL": str(database_url), "REDIS_URL": str(redis_url)}

    async def _stores_answer(self, supervisor: Supervisor, made: dict[str, str]) -> str:
        """Wait for Postgres and Redis and check that they will do; the proxies' database URL."""
        database, broker = self.database, self.broker
        if isinstance(database, Postgres):
            async with self._step("PostgreSQL, embedded") as note:
                await self._until(lambda: stores.answers(database), supervisor.children["postgres"], what="PostgreSQL")
                note(stores.roles(database))
            proxy_url = database.url(user=PROXY)
        else:
            async with self._step("PostgreSQL, yours") as note:
                version, warnings = preflight.check_database(database)
                proxy_url = stores.own_proxy_role(database, made["proxy_db_password"])
                note(version)
            for warning in warnings:
                self._line(f"  !!  {warning}")
        async with self._step("Redis, embedded" if isinstance(broker, Redis) else "Redis, yours") as note:
            if isinstance(broker, Redis):
                await self._until(broker.answers, supervisor.children["redis"], what="Redis")
            note(preflight.check_redis(self.facts["redis_url"]))
        return proxy_url

    def _simulator_ports(self) -> dict[str, str]:
        """Ports and URLs of the simulated providers, kept between starts because the demo's providers point at them."""
        path = self.options.data_dir / "simulators.json"
        try:
            kept: dict[str, int] = json.loads(path.read_text())
        except (OSError, ValueError):
            kept = {}
        for name in SIMULATORS:
            try:
                preflight.check_port("127.0.0.1", kept[name], "", wait=1.0)
            except (KeyError, PreflightError):
                kept[name] = free_port()
        path.write_text(json.dumps(kept))
        self.facts.setdefault("ports", {}).update(kept)
        variables: dict[str, str] = {}
        for name in SIMULATORS:
            stem = f"BULKHEAD_{name.upper().replace('-', '_')}"
            variables |= {f"{stem}_PORT": str(kept[name]), f"{stem}_URL": f"http://127.0.0.1:{kept[name]}"}
        return variables

    async def _until(self, condition: Callable[[], bool], child: Child, *, what: str, timeout: float = READY_SECONDS) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            self._give_up(child, what)
            if time.monotonic() > deadline:
                raise LaunchError(f"{what} does not answer after {timeout:.0f} s; its log ({child.log}) ends with:\n{child.tail()}")
            await asyncio.sleep(0.02)

    def _give_up(self, child: Child, what: str) -> None:
        if child.starts >= GIVE_UP_STARTS and child.process is None:
            raise LaunchError(f"{what} keeps ending; its log ({child.log}) ends with:\n{child.tail()}")

    async def _prepare(self, supervisor: Supervisor, environment: dict[str, str], pepper: str) -> str:
        out = self.options.data_dir / "secrets" / "prepared.json"
        wanted = prepare.fingerprint(
            demo=self.demo,
            history=not self.options.quiet,
            simulators=[self.facts.get("ports", {}).get(name) for name in SIMULATORS],
            pepper=pepper,
            engine_model=self.facts.get("engine_model", ""),
        )
        facts = prepare.current(out, url=environment["DATABASE_URL"], wanted=wanted)
        said = "nothing pending"
        if facts is None:
            argv = [
                sys.executable,
                "-m",
                "controlplane.launcher.prepare",
                str(out),
                "--fingerprint",
                wanted,
                *(["--demo"] if self.demo else []),
                *(["--history"] if self.demo and not self.options.quiet else []),
                *(["--engine-model", self.facts["engine_model"]] if "engine_model" in self.facts else []),
            ]
            child = await supervisor.run(ProcessSpec(name="prepare", kind="prepare", argv=tuple(argv), environment=environment))
            if child.last_code != 0:
                raise LaunchError(f"the database could not be prepared; the log ({child.log}) ends with:\n{child.tail()}")
            facts = json.loads(out.read_text())["facts"]
            said = "migrated" + ", demo seeded" * self.demo
        self.facts |= facts
        return said

    async def _processes(self, supervisor: Supervisor, procfile: Procfile, environment: dict[str, str]) -> None:
        """Start ours, and wait until the dashboard and every proxy answer."""
        options = self.options
        simulators = [
            {"name": name, "url": f"http://127.0.0.1:{self.facts['ports'][name]}"} for name in SIMULATORS if name in supervisor.children
        ]
        proxies = []
        for number in range(1, options.proxies + 1):
            name, admin_port = f"proxy-{number}", free_port()
            proxies.append({"name": name, "admin_url": f"http://127.0.0.1:{admin_port}", "boot_id": ""})
            own = {"BULKHEAD_PROXY_NAME": name, "BULKHEAD_PROXY_ADMIN_PORT": str(admin_port)}
            supervisor.start(procfile.spec("proxy", {**environment, **own}, name=name))
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
        self.facts |= {
            "web_url": f"http://{shown.get(self.web_host, self.web_host)}:{options.web_port}",
            "proxy_url": f"http://{shown.get(self.proxy_host, self.proxy_host)}:{options.proxy_port}",
            "proxies": proxies,
            "simulators": simulators,
            "data_dir": str(options.data_dir),
        }
        self.facts.setdefault("ports", {}).update({"web": options.web_port, "proxy": options.proxy_port})
        # Without the demo nothing may be published yet: then a proxy that waits for its first config is as far as it can be.
        published = self.demo or "openai_key" in self.facts
        ready = (lambda status, answer: status == 200) if published else probe.serves
        await asyncio.gather(
            self._answers(supervisor.children["web"], f"{self.facts['web_url']}/healthz", lambda status, answer: status == 200),
            *(self._answers(supervisor.children[one["name"]], f"{one['admin_url']}/readyz", ready) for one in proxies),
        )
        await self._boot_ids()
        lively = self.demo and not self.options.quiet
        # nobody waits for these: they must not slow down what people do wait for
        for kind in ("shipper", "worker", "beat", *(("traffic",) if lively else ())):
            supervisor.start(procfile.spec(kind, environment))
        if lively or "engine_model" in self.facts:
            supervisor.start(procfile.spec("agent", self._agent_environment(environment)))

    async def _make_model(self, supervisor: Supervisor) -> None:
        """The tiny model, before anything is said of it."""
        if not self.demo:
            raise LaunchError("--engine goes with the demo: leave --no-demo out, or bring the demo back with --demo")
        python = engine.interpreter()
        if python is None:
            raise LaunchError(engine.MISSING)
        async with self._step("tiny model") as note:
            child = await supervisor.run(engine.making(python, self.options.data_dir))
            if child.last_code != 0:
                raise LaunchError(f"the tiny model could not be made; the log ({child.log}) ends with:\n{child.tail()}")
            self.facts["engine_model"] = str(engine.models(self.options.data_dir) / engine.NAME)
            note(f"{engine.NAME}, a Llama with random weights that has learnt nothing")

    async def _engine_serves(self) -> None:
        """Wait until the worker serves the tiny model, for people who paste its line at once; it goes on starting where it is late."""
        async with self._step("built-in engine") as note:
            deadline, found = time.monotonic() + engine.READY_SECONDS, False
            while not found and time.monotonic() < deadline:
                await asyncio.sleep(0.25)
                found = await asyncio.to_thread(engine.served, str(self.facts["database_url"]))
            note(f"{engine.NAME} is served" if found else f"{engine.NAME} is not ready yet: Fleet > Deployments on the dashboard says why")

    def _agent_environment(self, environment: dict[str, str]) -> dict[str, str]:
        """What this machine's worker may know: none of the control plane's secrets but the token that joins it."""
        own = {
            "BULKHEAD_CONTROL_URL": self.facts["web_url"],
            "BULKHEAD_AGENT_NAME": "local",
            "BULKHEAD_AGENT_DIR": str(self.options.data_dir / "agent"),
            "BULKHEAD_AGENT_MODELS": os.pathsep.join([str(engine.models(self.options.data_dir)), "/models"]),
            "BULKHEAD_DATA_DIR": str(self.options.data_dir),
        }
        token = self.options.data_dir / "secrets" / "agent_token"
        if token.exists():
            own["BULKHEAD_AGENT_TOKEN_FILE"] = str(token)
        named = {name: value for name, value in environment.items() if name.startswith(("BULKHEAD_AGENT_", "BULKHEAD_LOG"))}
        return {name: value for name, value in environment.items() if not name.startswith("BULKHEAD_")} | own | named

    async def _answers(self, child: Child, url: str, satisfied: Callable[[int, dict[str, Any]], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not satisfied(*(found := await probe.get_json(url))):
            self._give_up(child, child.spec.name)
            await asyncio.sleep(0.03)
            if time.monotonic() > deadline:
                said = f"{found[0] or 'nothing'} {json.dumps(found[1])[:300]}"
                raise LaunchError(
                    f"{child.spec.name} is not ready after {READY_SECONDS:.0f} s ({url} answers {said}); "
                    f"its log ({child.log}) ends with:\n{child.tail()}"
                )

    async def _boot_ids(self) -> None:
        for one in self.facts["proxies"]:
            _, answer = await probe.get_json(f"{one['admin_url']}/readyz")
            one["boot_id"] = str(answer.get("boot_id", ""))

    # ---- up.json -----------------------------------------------------------------------------------------------

    def _publish(self, supervisor: Supervisor) -> None:
        """Write ``up.json`` once everything answered, and again whenever a process got another pid."""
        if not self.ready or self.stopping.is_set():
            return
        pids = {name: child.pid for name, child in supervisor.children.items() if child.pid is not None}
        for group in ("proxies", "simulators"):
            for one in self.facts[group]:
                one["pid"] = pids.get(one["name"])
        self.facts["pids"] = {"launcher": os.getpid(), **pids}
        self.instance.write(self.facts)
        task = asyncio.get_running_loop().create_task(self._refresh_boot_ids())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refresh_boot_ids(self) -> None:
        before = [one["boot_id"] for one in self.facts["proxies"]]
        for one in self.facts["proxies"]:
            await probe.until_answered(f"{one['admin_url']}/readyz", timeout=10.0, every=0.1)
        await self._boot_ids()
        if [one["boot_id"] for one in self.facts["proxies"]] != before and not self.stopping.is_set():
            self.instance.write(self.facts)

    # ---- stopping ----------------------------------------------------------------------------------------------

    async def _stop(self, supervisor: Supervisor) -> None:
        """Proxies drain, the shipper settles what they wrote while the rest ends, and the stores last."""
        self.stopping.set()
        for task in self._tasks:
            task.cancel()
        self.instance.forget()
        kinds = {name: child.spec.kind for name, child in supervisor.children.items()}
        proxies = [name for name, kind in kinds.items() if kind == "proxy"]
        await supervisor.stop(proxies, grace=DRAIN_SECONDS, hurry=self.hurry)
        stores = ["redis", "postgres"]
        rest = [name for name in kinds if name not in (*proxies, *stores)]
        await supervisor.stop(rest, grace=SETTLE_SECONDS, hurry=self.hurry)
        for name in stores:
            await supervisor.stop([name], grace=STORE_SECONDS)
        await supervisor.stop_orphans()

    # ---- words -------------------------------------------------------------------------------------------------

    def _line(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            print(text, file=self.output, flush=True)

    @contextlib.asynccontextmanager
    async def _step(self, name: str) -> AsyncIterator[Callable[[str], None]]:
        began = time.monotonic()
        said: list[str] = []
        yield said.append
        self._line(f"  ok  {name}: {', '.join(said)} ({time.monotonic() - began:.1f} s)")


def detach(options: Options) -> int:
    """Start ``up`` in the background; return when everything answers, or with the end of its log when it does not."""
    instance = Instance(options.data_dir)
    instance.make()
    if (holder := instance.launcher()) is not None:
        print(f"Bulkhead already runs on {options.data_dir} (launcher process {holder}): `manage.py down` stops it", file=sys.stderr)
        return 1
    began = time.monotonic()
    log = instance.logs / "up.log"
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
        command = [sys.executable, str(ROOT / "manage.py"), "up", *options.arguments(), "--no-welcome"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT, start_new_session=True)
    with log.open() as follow:
        while True:
            code = process.poll()
            for line in follow:
                if line.startswith(("  ok  ", "  !!  ")):
                    print(line, end="", flush=True)
            if instance.read().get("pids", {}).get("launcher") == process.pid:
                print(welcome(instance.read(), seconds=time.monotonic() - began, foreground=False))
                return 0
            if code is not None:
                unseen = [line for line in log.read_text(errors="replace").splitlines() if not line.startswith(("  ok  ", "  !!  "))]
                print("\n".join(unseen[-25:]), file=sys.stderr)
                return code or 1
            time.sleep(0.05)
