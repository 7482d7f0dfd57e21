"""``up --engine``: what it needs, what it hands on, what it says. The whole of it runs in ``test_up_engine.py``."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from controlplane.launcher import engine, prepare
from controlplane.launcher.up import LaunchError, Options, Up
from controlplane.launcher.welcome import welcome


def test_a_start_in_the_background_is_told_the_same(tmp_path: Path) -> None:
    assert "--engine" in Options(tmp_path, engine=True).arguments() and "--engine" not in Options(tmp_path).arguments()


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "interpreter", lambda: None)
    supervisor: Any = None
    up = Up(Options(tmp_path, engine=True), output=io.StringIO())
    with pytest.raises(LaunchError, match="make up-engine"):
        asyncio.run(up._make_model(supervisor))
    up.demo = False
    with pytest.raises(LaunchError, match="goes with the demo"):
        asyncio.run(up._make_model(supervisor))


def test_the_interpreter_is_the_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BULKHEAD_AGENT_ENGINE_PYTHON", "/engine/python")
    assert engine.interpreter() == Path("/engine/python")


def test_the_database_is_prepared_anew_for_another_model() -> None:
    def told(model: str) -> str:
        return prepare.fingerprint(demo=True, history=False, simulators=[1, 2], pepper="p", engine_model=model)

    assert told("/a/tiny-llama") != told("/b/tiny-llama") != told("")


def test_the_welcome_says_that_the_weights_are_random() -> None:
    facts = {"web_url": "http://w", "proxy_url": "http://p", "data_dir": "/d", "key": "bk-1", "model": "demo-chat"}
    assert "tiny-llama" not in welcome(facts, seconds=1)
    said = welcome({**facts, "engine_model": "/d/models/tiny-llama"}, seconds=1)
    assert "weights are random" in said and '"model": "tiny-llama"' in said and '"stream": true' in said
