"""Where `celery -A workers` finds the app."""

import sys

from celery import signals

from dispatcher.errors import ConfigurationError
from dispatcher.logs.output import name_process
from dispatcher.logs.process import begin_process, refuse
from dispatcher.settings import read_settings
from workers.celery_app import make_celery

for word in sys.argv[1:]:
    if word in {"worker", "beat", "flower"}:  # Celery's other commands print an answer, and end
        begin_process(word)
        break


@signals.celeryd_init.connect(weak=False)
def name_as_the_node(sender: str, **_: object) -> None:
    name_process(sender.partition("@")[0])


try:
    app = make_celery(read_settings())
except ConfigurationError as error:
    refuse(error)
