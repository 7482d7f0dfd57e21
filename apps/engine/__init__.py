"""Engines of our own: OpenAI-compatible servers that run on a worker, each a process by itself (``python -m apps.engine``).

Nobody imports this package but itself: agents start it with an interpreter that has the packages it needs (``var/engine``), and talk to
it over HTTP like any client. Of ours it imports only ``apps.contracts``.
"""

VERSION = "0.1.0"
