"""``make up-engine`` and ``make accept``: the packages of the built-in engine, in an environment of their own (``var/engine``).

They are gigabytes (PyTorch brings CUDA), and nothing but engines needs them. Checked against ``deploy/engine.lock``'s hashes; does nothing
when it is current. Only the standard library; configuration is pip's own.
"""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bootstrap import PYTHON, ROOT, TOOLS, pip_configuration, uv_environment
from clients import current

ENGINE = os.path.join(ROOT, "var", "engine")
LOCK = os.path.join(ROOT, "deploy", "engine.lock")


def install():
    stamp = os.path.join(ENGINE, ".locked")
    done, mark = current(stamp, LOCK)
    if done:
        return True
    began = time.time()
    print("  ..  engine: packages of deploy/engine.lock (gigabytes, once)")
    sys.stdout.flush()
    uv, environment = os.path.join(TOOLS, "bin", "uv"), uv_environment(pip_configuration())
    environment["VIRTUAL_ENV"] = ENGINE
    if "UV_LINK_MODE" not in os.environ:
        environment.pop("UV_LINK_MODE", None)  # links into uv's cache where they can be: a copy would be gigabytes again
    environment.pop("UV_FIND_LINKS", None)  # what the lock names has its hashes; wheels that lie around have others
    made = subprocess.call([uv, "venv", "--quiet", "--no-config", "--allow-existing", "--python", PYTHON, ENGINE], env=environment) == 0
    sync = [uv, "pip", "sync", "--quiet", "--no-config", "--require-hashes", "--python", os.path.join(ENGINE, "bin", "python"), LOCK]
    if not made or subprocess.call(sync, env=environment, cwd=ROOT) != 0:
        return False
    with open(stamp, "w") as file:
        file.write(mark)
    print(f"  ok  engine ({time.time() - began:.0f} s)")
    return True


if __name__ == "__main__":
    os.makedirs(ENGINE, exist_ok=True)
    if not install():
        sys.stderr.write(
            "engine: its packages could not be fetched; the built-in engine is not offered, and tests of it say that they are left out\n"
        )
        sys.exit(1)
