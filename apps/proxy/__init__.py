"""The data plane. Pure asyncio: imports only ``apps.contracts``; no Django, no ORM, no Celery."""
