"""Tests: real Postgres, fast password hashing, a fixed secret."""

from controlplane.settings.base import *  # noqa: F403

SECRET_KEY = "tests-only"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["*"]
