"""Tests: real Postgres (``tests/conftest.py`` points the connection at it), fast password hashing, fixed secrets.

Nothing of the developer's own instance is read: the environment is replaced before the shared settings look at it.
"""

import os
import tempfile

os.environ["BULKHEAD_DATA_DIR"] = os.path.join(tempfile.gettempdir(), f"bulkhead-tests-{os.getuid()}")
os.environ["BULKHEAD_LOG_FORMAT"] = "text"  # a failing test shows them to people
os.environ["BULKHEAD_SECRET_KEY"] = "tests-only"
os.environ["BULKHEAD_MASTER_KEY"] = "dGVzdHMtb25seS1tYXN0ZXIta2V5LTMyLWJ5dGVzLS0="
os.environ["BULKHEAD_SEAL_KEY"] = "dGVzdHMtb25seS1zZWFsLWtleS0zMi1ieXRlcy0tLS0="
os.environ["BULKHEAD_KEY_PEPPER"] = "tests-only-pepper"
for _name in ("DATABASE_URL", "BULKHEAD_DATABASE_URL", "BULKHEAD_PROXY_DATABASE_URL", "REDIS_URL", "BULKHEAD_REDIS_URL", "OPENAI_API_KEY"):
    os.environ.pop(_name, None)

from controlplane.settings.base import *  # noqa: E402

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["*"]
WHITENOISE_AUTOREFRESH = True  # files are found where they lie; nothing is collected for tests
