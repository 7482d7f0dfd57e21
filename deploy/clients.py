"""``make accept``: other people's clients in an environment of their own (``var/clients``), so that nothing else has to carry them.

Python's are checked against ``deploy/clients.lock``'s hashes; Node's, where Node is installed, are the exact versions of
``deploy/clients.package.json``. Does nothing when both are current. Only the standard library; configuration is pip's and npm's own.
"""

import hashlib
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bootstrap import PYTHON, ROOT, TOOLS, pip_configuration, uv_environment

CLIENTS = os.path.join(ROOT, "var", "clients")
LOCK = os.path.join(ROOT, "deploy", "clients.lock")
PACKAGES = os.path.join(ROOT, "deploy", "clients.package.json")


def current(stamp, *files):
    """(whether ``stamp`` was made of these files, what it says then)."""
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            digest.update(file.read())
    try:
        with open(stamp) as file:
            return file.read() == digest.hexdigest(), digest.hexdigest()
    except OSError:
        return False, digest.hexdigest()


def python():
    stamp = os.path.join(CLIENTS, ".locked")
    done, mark = current(stamp, LOCK)
    if done:
        return True
    uv, environment = os.path.join(TOOLS, "bin", "uv"), uv_environment(pip_configuration())
    environment["VIRTUAL_ENV"] = CLIENTS
    made = subprocess.call([uv, "venv", "--quiet", "--no-config", "--allow-existing", "--python", PYTHON, CLIENTS], env=environment) == 0
    sync = [uv, "pip", "sync", "--quiet", "--no-config", "--require-hashes", "--python", os.path.join(CLIENTS, "bin", "python"), LOCK]
    if not made or subprocess.call(sync, env=environment, cwd=ROOT) != 0:
        return False
    with open(stamp, "w") as file:
        file.write(mark)
    return True


def node():
    npm = shutil.which("npm")
    if npm is None:
        sys.stderr.write("clients: no npm here; the Vercel AI SDK is left out\n")
        return True
    stamp = os.path.join(CLIENTS, ".packages")
    done, mark = current(stamp, PACKAGES)
    if done:
        return True
    shutil.copyfile(PACKAGES, os.path.join(CLIENTS, "package.json"))
    if subprocess.call([npm, "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", CLIENTS], cwd=CLIENTS) != 0:
        return False
    with open(stamp, "w") as file:
        file.write(mark)
    return True


if __name__ == "__main__":
    os.makedirs(CLIENTS, exist_ok=True)
    if not (python() & node()):
        sys.stderr.write("clients: their packages could not be fetched; tests of them say that they are left out\n")
        sys.exit(1)
