"""``up``, ``down`` and ``status`` on the command line. ``manage.py`` comes here directly, before Django is imported: an
instance that is being started or repaired may have no settings that work yet, and a quick answer matters."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from controlplane.launcher.instance import Instance, InstanceError

COMMANDS = ("up", "down", "status")
NEED_DATABASE = (
    "apply", "export", "publish", "flag", "rollback", "versions", "shipper", "journal_write_off", "audit_verify", "migrate",
    "import_keys", "import_litellm",
)  # fmt: skip
"""Commands that do nothing without a database: ``DATABASE_URL``, or that of the instance that runs on the data directory."""
BASE_DIR = Path(__file__).resolve().parent.parent.parent


def default_data_dir() -> Path:
    return Path(os.environ.get("BULKHEAD_DATA_DIR") or BASE_DIR / "var").absolute()


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """The options of one command; Django's commands of the same names use them too."""
    parser.add_argument("--data-dir", type=Path, default=default_data_dir(), help="the instance's directory (default: var)")
    if command == "up":
        parser.add_argument("--detach", action="store_true", help="start in the background; return when everything answers")
        parser.add_argument("--web-port", type=_port, default=8000, help="dashboard (default: 8000)")
        parser.add_argument("--proxy-port", type=_port, default=8080, help="the proxies' shared public port (default: 8080)")
        parser.add_argument("--proxies", type=_count, default=1, help="proxy processes; one per core at most (default: 1)")
        demo = parser.add_mutually_exclusive_group()
        demo.add_argument("--no-demo", action="store_true", help="no simulated providers, no demo organisation")
        demo.add_argument("--demo", action="store_true", help="the demo again, after it was removed")
        demo.add_argument("--quiet-demo", action="store_true", help="the demo without requests and a past of its own")
        parser.add_argument("--engine", action="store_true", help="the demo also serves a tiny model with random weights (make up-engine)")
        parser.add_argument("--no-welcome", action="store_true", help="do not print the first login and the keys: they are in up.json")
    if command == "status":
        parser.add_argument("--json", action="store_true", help="machine-readable")


def command_named(argv: Sequence[str]) -> list[str]:
    """``argv`` with the command's name as its module has it: ``import-keys`` is ``import_keys``."""
    return [*argv[:1], *(word.replace("-", "_") if word[:1] != "-" else word for word in argv[1:2]), *argv[2:]]


def choose_data_dir(argv: Sequence[str]) -> list[str]:
    """``argv`` without ``--data-dir X``, which becomes ``BULKHEAD_DATA_DIR``. Words behind ``--`` are left alone."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            return [*kept, word, *words]
        flag, equals, value = word.partition("=")
        if flag != "--data-dir":
            kept.append(word)
            continue
        if not equals:
            value = next(words, "")
        if not value:
            sys.exit("--data-dir needs a directory, such as --data-dir var")
        os.environ["BULKHEAD_DATA_DIR"] = str(Path(value).absolute())
    return kept


def missing_instance(argv: Sequence[str]) -> str:
    """Why this command has no database to work on, and what to do; empty where it has one, or needs none."""
    from controlplane import env

    needed = argv[1:2] and argv[1] in NEED_DATABASE and not {"-h", "--help"} & set(argv)
    if not needed or _named_database():
        return ""
    data_dir = default_data_dir()
    holder = Instance(data_dir).launcher() if data_dir.is_dir() else None
    if holder is not None and env.running():
        return ""
    if holder is not None:
        return f"Bulkhead on {data_dir} is starting or stopping: `manage.py status` tells when it is up"
    return (
        f"no Bulkhead runs on {data_dir}: `make up` starts one, --data-dir names the directory of one that runs, "
        "DATABASE_URL names a database of your own"
    )


def database_advice(error: BaseException | None) -> str:
    """What to do about a database that a command could not use; empty where it is there and migrated."""
    import psycopg

    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName | psycopg.errors.UndefinedFunction):
        said = str(error).splitlines()[0]
        return f"the database is not migrated to this version: `make up` or `manage.py migrate` does it ({said})"
    if not isinstance(error, psycopg.OperationalError) or error.sqlstate is not None:
        return ""
    said = str(error).strip()
    if named := _named_database():
        from controlplane.launcher.preflight import without_password

        return f"DATABASE_URL ({without_password(named)}) cannot be reached: {said}"
    return f"the database of the Bulkhead on {default_data_dir()} does not answer: `manage.py status` shows what does ({said})"


def _named_database() -> str:
    return os.environ.get("DATABASE_URL") or os.environ.get("BULKHEAD_DATABASE_URL") or ""


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: use 1 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r}: use 1 to 64")
    return int(text)


def run(command: str, arguments: argparse.Namespace) -> int:
    """Do it; the process's exit code."""
    data_dir = arguments.data_dir.absolute()
    try:
        if command == "up":
            from controlplane.launcher.up import Options, Up, detach

            options = Options(
                data_dir,
                arguments.web_port,
                arguments.proxy_port,
                arguments.proxies,
                demo=not arguments.no_demo,
                demo_again=arguments.demo,
                quiet=arguments.quiet_demo,
                greet=not arguments.no_welcome,
                engine=arguments.engine,
            )
            return detach(options) if arguments.detach else asyncio.run(_up(Up, options))
        if command == "down":
            from controlplane.launcher.down import down

            return down(Instance(data_dir))
        from controlplane.launcher.status import as_text, status

        found = asyncio.run(status(Instance(data_dir)))
        print(json.dumps(found, indent=2) if arguments.json else as_text(found))
        return 0 if found["ok"] else 3 if not found["running"] else 1
    except InstanceError as error:
        print(error, file=sys.stderr)
        return 1


async def _up(kind: type, options: object) -> int:
    return int(await kind(options).run())


def main(argv: Sequence[str]) -> int:
    command = argv[0]
    parser = argparse.ArgumentParser(prog=f"manage.py {command}", description=DESCRIPTIONS[command])
    add_arguments(parser, command)
    return run(command, parser.parse_args(argv[1:]))


DESCRIPTIONS = {
    "up": "Start everything this machine runs, and keep it alive until Ctrl-C.",
    "down": "Stop the instance of a data directory.",
    "status": "Show the processes, ports and versions of an instance.",
}
