"""The supervisor by itself, on small processes: they come back, they stop in time, they never outlive it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from honcho.printer import Printer

from controlplane.launcher import death
from controlplane.launcher.procfile import ProcessSpec, Procfile, ProcfileError
from controlplane.launcher.supervisor import Supervisor

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def adopts_nobody() -> Iterator[None]:
    """A supervisor lets its process adopt orphans; the tests' own process goes back to not doing so."""
    yield
    assert death._libc.prctl(death.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


def spec(script: str, name: str = "one") -> ProcessSpec:
    return ProcessSpec(name=name, kind=name, argv=(sys.executable, "-S", "-c", textwrap.dedent(script)), environment=dict(os.environ))


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about"
        await asyncio.sleep(0.01)


def supervise(tmp_path: Path, output: io.StringIO | None = None) -> Supervisor:
    return Supervisor(directory=tmp_path, logs=tmp_path / "log", printer=Printer(output or io.StringIO()))


async def test_a_killed_process_comes_back_with_another_pid(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path)
    child = supervisor.start(spec("import time; time.sleep(60)"))
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: child.pid not in (None, first))
    assert "SIGKILL" in child.tail()
    await supervisor.stop(["one"], grace=5)
    assert child.pid is None


async def test_a_process_that_keeps_dying_is_retried_ever_less_often(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path)
    child = supervisor.start(spec("raise SystemExit(7)"))
    await until(lambda: child.starts >= 4)
    assert child.delay >= 0.4
    assert "ended with code 7" in child.tail(50)
    await supervisor.stop(["one"], grace=1)
    starts = child.starts
    await asyncio.sleep(0)
    assert child.starts == starts


def until_dead(pid: int) -> None:
    """Until it has ended and nobody has collected it; the event loop does not turn meanwhile, so the supervisor has not heard of it."""
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_a_stop_ends_though_the_process_died_just_before_it(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path)
    child = supervisor.start(spec("pass"))
    assert child.pid is not None
    until_dead(child.pid)
    await asyncio.wait_for(supervisor.stop(["one"], grace=60), 10)
    assert child.pid is None and child.last_code == 0 and child.starts == 1


async def test_a_stop_ends_though_the_process_died_just_before_it_was_killed(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path)
    child = supervisor.start(
        spec("import signal, time; signal.signal(15, lambda *_: time.sleep(60)); print('deaf', flush=True); time.sleep(60)")
    )
    await until(lambda: "deaf" in child.tail())
    pid, say = child.pid, supervisor.say
    assert pid is not None

    def dies_first(which: object, sentence: str) -> None:
        say(which, sentence)  # type: ignore[arg-type]
        os.kill(pid, signal.SIGKILL)
        until_dead(pid)

    supervisor.say = dies_first  # type: ignore[method-assign]  # what comes between the grace's end and the signal
    await asyncio.wait_for(supervisor.stop(["one"], grace=0.2), 10)
    assert child.last_code == -signal.SIGKILL


async def test_output_goes_to_its_log_and_the_terminal_line_by_line(tmp_path: Path) -> None:
    terminal = io.StringIO()
    supervisor = supervise(tmp_path, terminal)
    child = await supervisor.run(spec(r"import sys; sys.stdout.write('caf\xe9 ok\nlast without newline'); sys.stdout.flush()"))
    assert child.last_code == 0
    await until(lambda: "last without newline" in terminal.getvalue())
    assert "ok" in child.tail()
    assert child.log.stat().st_mode & 0o777 == 0o600


async def test_what_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path)
    child = supervisor.start(spec("import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"))
    await until(lambda: "deaf" in child.tail())
    await supervisor.stop(["one"], grace=0.2)
    assert child.last_code == -signal.SIGKILL


async def test_hurry_cuts_a_long_grace_short(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path)
    child = supervisor.start(spec("import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"))
    await until(lambda: "deaf" in child.tail())
    hurry = asyncio.Event()
    stopping = asyncio.create_task(supervisor.stop(["one"], grace=60, hurry=hurry))
    await asyncio.sleep(0)
    hurry.set()
    await asyncio.wait_for(stopping, 40)
    assert child.last_code == -signal.SIGKILL


def test_orphans_of_a_killed_child_are_ended_at_the_stop(tmp_path: Path) -> None:
    # In a process of its own: ending whatever it has for children would end the services of the other tests too.
    script = f"""
        import asyncio, io
        from pathlib import Path
        from honcho.printer import Printer
        from controlplane.launcher import death
        from controlplane.launcher.supervisor import Supervisor
        from tests.launcher.test_supervisor import spec, until
        async def main():
            supervisor = Supervisor(directory=Path("."), logs=Path({str(tmp_path)!r}) / "log", printer=Printer(io.StringIO()))
            child = supervisor.start(spec(
                "import subprocess, sys, time\\n"
                "grandchild = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'], start_new_session=True)\\n"
                "print('grandchild', grandchild.pid, flush=True)\\n"
                "time.sleep(60)"
            ))
            await until(lambda: len(child.tail().split()) > 1)
            orphan = int(child.tail().split()[1])
            await supervisor.stop(["one"], grace=5)
            print(death.alive(orphan))
            await supervisor.stop_orphans()
            print(death.alive(orphan))
        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, cwd=ROOT, timeout=180)
    assert done.stdout.split() == ["True", "False"], done.stderr


async def test_a_program_that_does_not_exist_is_reported_not_fatal(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path)
    child = supervisor.start(ProcessSpec(name="one", kind="one", argv=("/no/such/program",), environment=dict(os.environ)))
    await until(lambda: "cannot be started" in child.tail())
    await supervisor.stop(["one"], grace=1)


def _autogroup(pid: int | None) -> str:
    return Path(f"/proc/{pid}/autogroup").read_text().partition(" ")[2].strip()


async def test_what_nice_starts_steps_back_for_other_sessions_too(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path)
    argv = (sys.executable, "-S", "-c", "import time; time.sleep(60)")
    environment = dict(os.environ)
    first = supervisor.start(ProcessSpec(name="one", kind="one", argv=argv, environment=environment))
    back = supervisor.start(ProcessSpec(name="two", kind="two", argv=("nice", "-n", "10", *argv), environment=environment))
    try:
        said = [_autogroup(child.pid) for child in (first, back)]
    except OSError:
        pytest.skip("this kernel shares its cores between processes, whatever their session")
    finally:
        await supervisor.stop(["one", "two"], grace=5)
    assert said == ["nice 0", "nice 10"]


@pytest.mark.kill
def test_kill_9_of_the_supervisor_leaves_no_process(tmp_path: Path) -> None:
    script = f"""
        import asyncio, os, sys
        from pathlib import Path
        from controlplane.launcher.supervisor import Supervisor
        from controlplane.launcher.procfile import ProcessSpec
        async def main():
            supervisor = Supervisor(directory=Path("."), logs=Path({str(tmp_path)!r}) / "log", printer=None)
            argv = (sys.executable, "-S", "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)")
            pids = [supervisor.start(ProcessSpec(name=f"p{{n}}", kind="p", argv=argv, environment=dict(os.environ))).pid for n in range(3)]
            print(*pids, flush=True)
            await asyncio.sleep(60)
        asyncio.run(main())
    """
    launcher = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert launcher.stdout is not None
    pids = [int(word) for word in launcher.stdout.readline().split()]
    assert len(pids) == 3
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 30
    while any(death.alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [pid for pid in pids if death.alive(pid)]
    with contextlib.suppress(OSError):
        launcher.stdout.close()


def test_the_procfile_names_every_process_and_its_variables() -> None:
    procfile = Procfile(ROOT / "Procfile")
    environment = {
        "BULKHEAD_DATA_DIR": "/data",
        "BULKHEAD_REDIS_PORT": "1",
        "BULKHEAD_WEB_HOST": "h",
        "BULKHEAD_WEB_PORT": "2",
        "BULKHEAD_WORKER_NICE": "10",
        "BULKHEAD_SIM_EAST_PORT": "3",
        "BULKHEAD_SIM_WEST_PORT": "4",
    }
    for kind in ("postgres", "redis", "web", "proxy", "shipper", "worker", "beat", "sim-east", "sim-west"):
        argv = procfile.spec(kind, environment).argv
        assert "$" not in " ".join(argv) and sys.executable in argv and "python" not in argv
    assert procfile.spec("worker", environment).argv[:3] == ("nice", "-n", "10"), "requests come first on a machine that they share"
    assert procfile.spec("postgres", environment).last_word == signal.SIGINT
    with pytest.raises(ProcfileError, match="BULKHEAD_REDIS_PORT"):
        procfile.spec("redis", {"BULKHEAD_DATA_DIR": "/data"})
    with pytest.raises(ProcfileError, match="no line"):
        procfile.spec("nothing", environment)


def test_pure_processes_see_no_secret_of_the_control_plane() -> None:
    environment = {
        "PATH": "/bin",
        "DATABASE_URL": "postgresql://owner",
        "REDIS_URL": "redis://",
        "OPENAI_API_KEY": "sk-1",
        "AWS_SECRET_ACCESS_KEY": "x",
        "BULKHEAD_MASTER_KEY_FILE": "/m",
        "BULKHEAD_SECRET_KEY": "s",
        "BULKHEAD_DATABASE_URL": "postgresql://owner",
        "BULKHEAD_PROXY_DATABASE_URL": "postgresql://proxy",
        "BULKHEAD_SEAL_KEY_FILE": "/s",
        "BULKHEAD_KEY_PEPPER_FILE": "/p",
    }
    assert set(Procfile(ROOT / "Procfile").spec("proxy", environment).environment) == {
        "PATH",
        "BULKHEAD_PROXY_DATABASE_URL",
        "BULKHEAD_SEAL_KEY_FILE",
        "BULKHEAD_KEY_PEPPER_FILE",
    }
    assert set(Procfile(ROOT / "Procfile").spec("shipper", environment).environment) == set(environment)
