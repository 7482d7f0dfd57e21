"""How many jobs wait in Celery's queues, asked of the broker itself: true also while no worker runs."""

from __future__ import annotations

from celery import current_app
from kombu.exceptions import ChannelError, KombuError, OperationalError

CONNECT_SECONDS = 2


class BrokerAway(Exception):
    """The broker does not answer."""


def celery_depths() -> dict[str, int]:
    """Jobs that wait, by queue, for every queue that this installation has. What a worker has taken already is not counted.

    Raises BrokerAway.
    """
    found: dict[str, int] = {}
    try:
        with current_app.connection_for_read(connect_timeout=CONNECT_SECONDS) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=CONNECT_SECONDS)
            channel = connection.channel()
            try:
                for queue in current_app.conf.task_queues or ():
                    try:
                        found[queue.name] = int(channel.queue_declare(queue.name, passive=True).message_count)
                    except ChannelError:  # nothing was ever sent there
                        found[queue.name] = 0
                        if not getattr(channel, "is_open", True):  # RabbitMQ closes it for having been asked
                            channel = connection.channel()
            except connection.connection_errors as error:
                raise BrokerAway(str(error)) from error
    except (KombuError, OperationalError, OSError) as error:
        raise BrokerAway(str(error)) from error
    return found
