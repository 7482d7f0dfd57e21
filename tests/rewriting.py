"""Asserts of test files are rewritten by one worker each, and not by all of them.

pytest rewrites a file when it imports it and keeps the result beside it. In a fresh checkout all workers import all files in the same
order at the same time, so each would rewrite each: more than half of what collecting costs. Here they part the files first.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.assertion import rewrite

NAMES = ("test_*.py", "conftest.py")


def files_of(config: pytest.Config) -> list[Path]:
    """What will be rewritten of the folders and files that were asked for."""
    places = [config.rootpath / str(argument).split("::", 1)[0] for argument in config.args]
    return sorted({file for place in places for name in NAMES for file in ([place] if place.is_file() else place.rglob(name))})


def rewrite_in_parts(config: pytest.Config, *, number: int, count: int) -> None:
    """Each worker its own files first; then from the other end whatever others have not come to yet."""
    state = config.stash[rewrite.assertstate_key]
    files = files_of(config)
    for file in files[number::count] + [file for at, file in reversed(list(enumerate(files))) if at % count != number]:
        cache = rewrite.get_cache_dir(file)
        kept = cache / (file.name[:-3] + rewrite.PYC_TAIL)
        if kept.exists() or not rewrite.try_makedirs(cache):
            continue  # where it is out of date, importing it sees that
        digest, code = rewrite._rewrite_test(file, config)
        rewrite._write_pyc(state, code, digest, kept)
