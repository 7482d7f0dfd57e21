"""Workers that part the test files: each file is rewritten once, and pytest takes what it finds."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from _pytest.assertion import rewrite

from tests.rewriting import rewrite_in_parts


@pytest.mark.parametrize("count", [1, 3])
def test_each_file_is_rewritten_once(pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    names = ["conftest.py", *(f"test_{number}.py" for number in range(7)), "helper.py"]
    for name in names:
        (tmp_path / name).write_text(f"def test() -> None:\n    assert {name!r} == 'else'\n")
    done: list[str] = []
    rewritten = rewrite._rewrite_test

    def counted(file: Path, config: Any) -> Any:
        done.append(file.name)
        return rewritten(file, config)

    monkeypatch.setattr(rewrite, "_rewrite_test", counted)
    config = cast(pytest.Config, SimpleNamespace(rootpath=tmp_path, args=["."], stash=pytestconfig.stash, getini=pytestconfig.getini))
    for number in range(count):
        rewrite_in_parts(config, number=number, count=count)
    assert sorted(done) == sorted(names[:-1])
    for name in names[:-1]:
        file = tmp_path / name
        kept = rewrite.get_cache_dir(file) / (file.name[:-3] + rewrite.PYC_TAIL)
        code = rewrite._read_pyc(file, kept)
        assert code is not None and "@pytest_ar" in code.co_names, os.listdir(kept.parent)
