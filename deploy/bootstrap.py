"""Makes ``.venv`` from ``requirements.lock``; does nothing when it is current. Only the standard library of Python 3.11.

Every package is checked against the lock's hashes. No registry is named anywhere: pip's own configuration (pip.conf or
``PIP_*``) decides where packages come from, and is handed on to uv, which does not read it.
"""

import ast
import hashlib
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
TOOLS = os.path.join(VENV, "tools")
LOCK = os.path.join(ROOT, "requirements.lock")
UV_LOCK = os.path.join(ROOT, "deploy", "uv.lock.txt")
STAMP = os.path.join(VENV, ".locked")


def fail(message):
    sys.stderr.write("\n" + message + "\n")
    sys.exit(1)


def wanted():
    """What a current environment's stamp says: the interpreter's version and the locks' hashes."""
    digest = hashlib.sha256("{}.{}\n".format(*sys.version_info[:2]).encode())
    for path in (UV_LOCK, LOCK):
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def is_current(stamp):
    try:
        with open(STAMP) as file:
            return file.read() == stamp and os.access(PYTHON, os.X_OK)
    except OSError:
        return False


def make_venv():
    same = f"import sys, pip; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])!r})"
    if os.path.exists(PYTHON) and subprocess.call([PYTHON, "-c", same], stderr=subprocess.DEVNULL) == 0:
        return
    version = "{}.{}".format(*sys.version_info[:2])
    done = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0 or not os.path.exists(PYTHON):
        fail(
            done.stdout.decode(errors="replace")
            + f"\nThis Python cannot make a virtual environment. On Debian and Ubuntu: apt-get install python{version}-venv"
            + "\nElsewhere: install a complete Python 3.11 or newer and run make again with PYTHON=/path/to/it."
        )


def pip_configuration():
    """pip's settings by short name, environment last because it wins: ``{"index-url": ...}``."""
    done = subprocess.run([PYTHON, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        name, _, value = line.partition("=")
        scope, _, key = name.rpartition(".")
        if scope in ("global", "install", ":env:"):
            try:
                found[key] = str(ast.literal_eval(value))
            except (ValueError, SyntaxError):
                continue
    return found


def uv_environment(pip):
    """uv's environment that means what pip's configuration means. What the caller set for uv itself wins."""
    environment = dict(os.environ, VIRTUAL_ENV=VENV)
    environment.pop("UV_PYTHON", None)
    extra = pip.get("extra-index-url", "").split()
    meant = {
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": " ".join(extra),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "SSL_CERT_FILE": pip.get("cert", ""),
        "UV_INSECURE_HOST": pip.get("trusted-host", ""),
        "UV_HTTP_TIMEOUT": pip.get("default-timeout", pip.get("timeout", "")),
        "UV_LINK_MODE": "copy",  # a cache on another file system is normal, and not worth a warning
    }
    if extra:
        meant["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip's way of several indexes; the hashes keep it safe
    for name, value in meant.items():
        if value and not environment.get(name):
            environment[name] = value
    return environment


UNREACHABLE = """
Packages could not be fetched. If this machine reaches a mirror only, tell pip (and so us) with
  export PIP_INDEX_URL=<the mirror's simple index>     (and PIP_CERT=<its certificate> where needed)
and run make again. What is there already is kept."""


def install():
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    pip += ["--require-hashes", "--only-binary=:all:"]
    if not os.path.exists(os.path.join(TOOLS, "bin", "uv")) or not fresh(os.path.join(TOOLS, ".locked"), UV_LOCK):
        if subprocess.call([*pip, "--upgrade", "--target", TOOLS, "-r", UV_LOCK]) != 0:
            fail(UNREACHABLE)
        with open(UV_LOCK, "rb") as lock, open(os.path.join(TOOLS, ".locked"), "wb") as mark:
            mark.write(lock.read())
    sync = [os.path.join(TOOLS, "bin", "uv"), "pip", "sync", "--quiet", "--no-config", "--require-hashes", "--python", PYTHON, LOCK]
    if subprocess.call(sync, env=uv_environment(pip_configuration()), cwd=ROOT) != 0:
        fail(UNREACHABLE)


def fresh(mark, lock):
    try:
        with open(mark, "rb") as one, open(lock, "rb") as other:
            return one.read() == other.read()
    except OSError:
        return False


def main():
    stamp = wanted()
    if is_current(stamp):
        return
    began = time.time()
    print("  ..  environment: Python {}.{}, packages of requirements.lock".format(*sys.version_info[:2]))
    sys.stdout.flush()
    make_venv()
    install()
    with open(STAMP, "w") as file:
        file.write(stamp)
    print(f"  ok  environment ({time.time() - began:.0f} s)")


if __name__ == "__main__":
    main()
