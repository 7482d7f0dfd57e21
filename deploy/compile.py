"""``make compile``: the proxy's hot path as C extensions, for about a quarter less CPU a request.

Needs a C compiler and Python's headers; takes about two minutes of one core. The proxies use it from their next start on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from apps.proxy import compiled

UNFINISHED = "compile-"
"""How folders of builds under way begin."""
BUILD = """
import sys
from setuptools import setup
from mypyc.build import mypycify

files, temporary, out = sys.argv[3:], sys.argv[1], sys.argv[2]
extensions = mypycify(files, opt_level="2", debug_level="0", target_dir=temporary)
setup(
    name="bulkhead-proxy", packages=[], py_modules=[], ext_modules=extensions,
    script_args=["--quiet", "build_ext", "--build-lib", out, "--build-temp", temporary],
)
"""
"""Runs in a process of its own, in the repository's root: the compiler reads mypy's settings there, and keeps what it knows in globals."""


def missing() -> str:
    """What this machine lacks to build, with the remedy; empty when nothing."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if not any(shutil.which(name) for name in (os.environ.get("CC") or compiler, "cc")):
        return "no C compiler: install one (Debian: apt-get install gcc)"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return f"Python's headers are missing: install them (Debian: apt-get install python{version}-dev)"
    return ""


def build(out: Path) -> None:
    """Builds into ``out``, which then exists whole or, after a CalledProcessError, not at all."""
    files = [str(compiled.source_of(module).relative_to(compiled.ROOT)) for module in compiled.MODULES]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=out.parent) as temporary:
        work, made = Path(temporary, "work"), Path(temporary, "made")
        work.mkdir()
        environ = {**os.environ, "PYTHONPATH": str(compiled.ROOT), "MYPYPATH": str(compiled.ROOT)}
        if not shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]):
            environ.setdefault("CC", "cc")
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", BUILD, str(work), str(made), *files],
            cwd=compiled.ROOT, env=environ, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            made.rename(out)
        except OSError:  # somebody else built the same meanwhile
            if not out.is_dir():
                raise


def main() -> int:
    out = compiled.folder()
    if out.is_dir():
        print(f"The proxy is compiled already: {out}")
        return 0
    lacking = missing()
    if lacking:
        print(f"The proxy cannot be compiled here: {lacking}. It runs interpreted.", file=sys.stderr)
        return 1
    print(f"Compiling {len(compiled.MODULES)} modules of the proxy; this takes a minute or two.", flush=True)
    began = time.monotonic()
    try:
        build(out)
    except subprocess.CalledProcessError as error:
        print(error.output.decode(errors="replace")[-4000:], file=sys.stderr)
        print("The proxy could not be compiled (the compiler's words are above). It runs interpreted.", file=sys.stderr)
        return 1
    for old in out.parent.iterdir():
        if old != out and old.is_dir() and not old.name.startswith(UNFINISHED):
            shutil.rmtree(old, ignore_errors=True)  # of other sources: nobody can find it any more
    print(f"Done in {time.monotonic() - began:.0f} s: proxies that start from now on use {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
