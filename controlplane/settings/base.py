"""Settings shared by all environments. What an operator may change is read in ``controlplane/env.py``."""

from __future__ import annotations

from csp.constants import NONCE

from apps.contracts.logs import form_read
from controlplane import env, logs

BASE_DIR = env.BASE_DIR
DATA_DIR = env.data_dir()

SECRET_KEY = (env.secret("BULKHEAD_SECRET_KEY", "django_secret") or b"").decode()
DEBUG = False
ENVIRONMENT_NAME = env.read.text("BULKHEAD_ENVIRONMENT_NAME", "local")[:40]
"""What the bar of every page calls this installation, so that nobody flips a switch in the wrong one."""
ALLOWED_HOSTS = env.read.text("BULKHEAD_ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]").split(",")

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "apps.ui",
    "apps.audit",
    "apps.accounts",
    "apps.publishing",
    "apps.ownership",
    "apps.providers",
    "apps.prices",
    "apps.catalogue",
    "apps.keys",
    "apps.usage",
    "apps.responses",
    "apps.budgets",
    "apps.flags",
    "apps.fleet",
    "apps.routes",
    "apps.settlement",
    "apps.alerts",
    "apps.postmortems",
    "apps.dashboard",
    "controlplane",
    "controlplane.demo",
]

MIDDLEWARE = [
    "apps.ui.requestid.RequestIdMiddleware",
    "controlplane.metrics.counting.MeasuredMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "apps.accounts.middleware.SeenMiddleware",
    "apps.accounts.middleware.ExportMiddleware",
    "apps.accounts.middleware.LostFormMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "apps.ui.zone.ZoneMiddleware",
]

ROOT_URLCONF = "controlplane.urls"
ASGI_APPLICATION = "controlplane.asgi.application"
AUTH_USER_MODEL = "accounts.User"
SILENCED_SYSTEM_CHECKS = ["auth.E003"]  # emails are unique by a constraint on their lower case, which the check does not see
CSRF_FAILURE_VIEW = "apps.accounts.views.csrf_failure"
LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "dashboard:overview"
LOGOUT_REDIRECT_URL = "accounts:login"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator", "OPTIONS": {"user_attributes": ("email", "name")}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
globals().update(env.mail())

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "apps.ui.context.frame",
                "apps.dashboard.context.bar",
            ]
        },
    }
]
FORM_RENDERER = "apps.ui.form_rendering.Renderer"

REDIS_WATCHED = env.redis_named()
"""The Redis whose absence pages tell; empty where nobody named one."""
LIMITS_REDIS = env.limits_redis()
"""Where proxies share limits; empty where they do not."""

DATABASES = {"default": env.django_database(env.database_url() or "postgresql:///bulkhead")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
WHITENOISE_USE_FINDERS = True  # what was not collected is served from where it lies
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "controlplane.static_storage.StaticFiles"},
}

LANGUAGE_CODE = "en"
USE_I18N = False  # one language: Django would ask which it is for every number and every address on a page
TIME_ZONE = "UTC"
USE_TZ = True

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "style-src": ["'self'"],
        "script-src": [NONCE, "'strict-dynamic'"],  # only what our own pages name; plots.js may load the plot library
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
        "connect-src": ["'self'"],
        "worker-src": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 12 * 2**20
"""Bytes of a form without its files: a log of 5 MB can be pasted into a note, and a longer one comes back beside its refusal."""
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = True
SECURE_REFERRER_POLICY = "same-origin"

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],  # closed, until a view says otherwise
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "apps.accounts.api.authentication.TokenAuthentication",  # first: it names the scheme of a 401
        "apps.accounts.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["apps.accounts.api.throttling.CallerThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_METADATA_CLASS": None,  # OPTIONS is a wrong method, as on pages: the schema says what there is
    "EXCEPTION_HANDLER": "apps.accounts.api.errors.exception_handler",
    "URL_FORMAT_OVERRIDE": None,  # ``?format=`` is the exports' own
    "DATETIME_FORMAT": "iso-8601",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Bulkhead",
    "DESCRIPTION": "The control plane's API. Addresses end with a slash, amounts are nano-dollars, times are UTC, ids are UUIDs.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "DISABLE_ERRORS_AND_WARNINGS": True,  # names of generated enums are nobody's concern at start
    "PREPROCESSING_HOOKS": ["controlplane.api_schema.api_only"],
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "controlplane.api_schema.failures_told"],
}

LOGGING = logs.configured(env.read.text("BULKHEAD_LOG_LEVEL", "INFO"), form_read(env.read))
