#!/usr/bin/env python
"""Bulkhead's command line. `manage.py up` starts everything; `manage.py help` lists the rest."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    from controlplane.launcher import cli

    argv = sys.argv
    if argv[1:2] and argv[1] in cli.COMMANDS:
        sys.exit(cli.main(argv[1:]))
    if argv[1:2] == ["agent"]:  # no Django: the very process that `bulkhead-agent` is
        os.execv(sys.executable, [sys.executable, "-m", "apps.agent", *cli.choose_data_dir(argv)[2:]])
    if argv[1:2] == ["export-onnx"]:  # what it needs is in the engines' environment, not in this one
        from controlplane.launcher.exporting import export_onnx

        export_onnx(argv[2:])
    # Every command takes --data-dir: settings are read from the instance that it names.
    argv = cli.command_named(cli.choose_data_dir(argv))
    if missing := cli.missing_instance(argv):
        sys.exit(f"{argv[1]}: {missing}")

    from django.core.management import execute_from_command_line
    from django.db import OperationalError, ProgrammingError

    try:
        execute_from_command_line(argv)
    except (OperationalError, ProgrammingError) as error:
        advice = cli.database_advice(error.__cause__)
        if not advice or "--traceback" in argv:
            raise
        sys.exit(f"{argv[1]}: {advice}")
    except BrokenPipeError:  # the reader (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
