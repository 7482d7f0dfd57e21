"""Every command finds its instance by ``--data-dir``, and says what to do where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from controlplane.launcher import cli, keys
from controlplane.launcher.instance import Instance, Lock
from tests.launcher.conftest import ROOT, clean_environment


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**clean_environment(), **environment},
        cwd=ROOT,
    )


@pytest.mark.parametrize("words", [["--data-dir", "there"], ["--data-dir=there"]])
def test_the_flag_becomes_the_setting(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BULKHEAD_DATA_DIR", "/before")
    assert cli.choose_data_dir(["manage.py", "apply", *words, "-f", "x.yaml"]) == ["manage.py", "apply", "-f", "x.yaml"]
    assert os.environ["BULKHEAD_DATA_DIR"] == str(Path("there").absolute())


def test_the_flag_without_a_directory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BULKHEAD_DATA_DIR", "/before")
    with pytest.raises(SystemExit, match="needs a directory"):
        cli.choose_data_dir(["manage.py", "export", "--data-dir"])
    assert cli.choose_data_dir(["manage.py", "shell", "--", "--data-dir", "x"]) == ["manage.py", "shell", "--", "--data-dir", "x"]
    assert os.environ["BULKHEAD_DATA_DIR"] == "/before"


def test_a_command_without_an_instance_says_how_to_get_one(tmp_path: Path) -> None:
    done = manage("export", "--data-dir", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stderr.startswith(f"export: no Bulkhead runs on {tmp_path / 'none'}: `make up` starts one")
    assert not (tmp_path / "none").exists()
    assert "--dry-run" in manage("apply", "--help", "--data-dir", str(tmp_path / "none")).stdout


def test_a_command_on_an_instance_that_is_starting_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "BULKHEAD_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BULKHEAD_DATA_DIR", str(tmp_path))
    instance = Instance(tmp_path)
    instance.make()
    with Lock(instance):
        assert "is starting or stopping" in cli.missing_instance(["manage.py", "publish"])
        instance.write({"database_url": "postgresql://somewhere"})
        assert cli.missing_instance(["manage.py", "publish"]) == ""
    assert "no Bulkhead runs" in cli.missing_instance(["manage.py", "publish"])
    assert cli.missing_instance(["manage.py", "help"]) == ""


def test_an_unreachable_database_is_said_without_its_password(tmp_path: Path) -> None:
    keys.make_all(tmp_path)
    done = manage("versions", "--data-dir", str(tmp_path), DATABASE_URL="postgresql://bulkhead:hunter2@127.0.0.1:1/x")
    assert done.returncode == 1
    assert "versions: DATABASE_URL (postgresql://bulkhead:***@127.0.0.1:1/x) cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_an_empty_database_is_told_from_one_that_is_away() -> None:
    assert "manage.py migrate" in cli.database_advice(psycopg.errors.UndefinedTable('relation "x" does not exist'))
    assert cli.database_advice(psycopg.errors.DeadlockDetected("deadlock")) == ""
    assert cli.database_advice(ValueError("other")) == ""
