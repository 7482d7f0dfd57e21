"""A directory that somebody deletes below a running agent: its next start finds what it needs, and joins nobody anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from apps.agent import agent as agents
from tests.agent.worker import spec, worker


async def test_a_deleted_directory_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "FACTS_SECONDS", 0.1)
    one = spec()
    async with worker(tmp_path) as w:
        await w.order(one)
        first = await w.reported(one.replica, "ready")
        state = w.settings.state
        before = (state / "credential.json").read_bytes()
        shutil.rmtree(state)
        await w.until(lambda: (state / "desired.json").exists(), "written again")
        assert (state / "credential.json").read_bytes() == before and state.stat().st_mode & 0o777 == 0o700
        with pytest.raises(agents.InUse):
            agents._locked(state / "agent.lock")
        await w.end()
        await w.start()  # the token was used: without its credential it would be refused
        again = await w.reported(one.replica, "ready")
        assert again.pid != first.pid and len(w.control.workers) == 1
