"""Whether a start has a demo: unless it was removed, and again where somebody asks for it."""

from __future__ import annotations

import argparse
import asyncio
import io
from pathlib import Path

import pytest

from controlplane.demo.state import DemoState, Removal, demo_state, demo_state_change
from controlplane.launcher import cli
from controlplane.launcher.up import Options, Up


def chosen(data_dir: Path, **options: bool) -> tuple[bool, str]:
    async def choose() -> tuple[bool, str]:
        said = io.StringIO()
        up = Up(Options(data_dir, **options), output=said)  # type: ignore[arg-type]
        up._choose_demo()
        return up.demo, said.getvalue()

    return asyncio.run(choose())


def test_there_is_one_unless_it_is_not_wanted(tmp_path: Path) -> None:
    assert chosen(tmp_path) == (True, "")
    assert chosen(tmp_path, demo=False) == (False, "")


@pytest.mark.parametrize("state", ["running", "done", "failed"])
def test_a_removed_one_stays_away_until_it_is_asked_for(tmp_path: Path, state: str) -> None:
    demo_state_change(tmp_path, lambda now: DemoState(traffic=False, removal=Removal(state=state)))
    demo, said = chosen(tmp_path)
    assert not demo and "up --demo" in said
    assert chosen(tmp_path, demo_again=True) == (True, "")
    assert demo_state(tmp_path) == DemoState()
    assert chosen(tmp_path) == (True, "")


def test_a_start_in_the_background_is_told_the_same(tmp_path: Path) -> None:
    assert "--demo" in Options(tmp_path, demo_again=True).arguments()
    assert "--quiet-demo" in Options(tmp_path, quiet=True).arguments()
    assert "--no-demo" in Options(tmp_path, demo=False).arguments()


def test_contradictions_are_refused() -> None:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser, "up")
    with pytest.raises(SystemExit):
        parser.parse_args(["--demo", "--no-demo"])
