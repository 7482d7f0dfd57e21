"""The ASGI entry point that uvicorn serves."""

import gc
import os

import django
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
django.setup()

from whitenoise.middleware import WhiteNoiseMiddleware  # noqa: E402

from apps.fleet.agents.server import AgentApi  # noqa: E402
from controlplane.bodies import BodyLimit  # noqa: E402
from controlplane.static_first import StaticFirst  # noqa: E402
from controlplane.static_storage import collect_when_changed  # noqa: E402

collect_when_changed()  # before the middleware looks which files there are
application = StaticFirst(AgentApi(BodyLimit(get_asgi_application())), WhiteNoiseMiddleware(lambda request: None).files)
gc.collect()
gc.freeze()  # what was imported lives as long as the process: a collection while a page is made need not walk through it again
