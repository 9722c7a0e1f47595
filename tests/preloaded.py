"""What the server has loaded from which tests fork processes: it has no threads, no connections and no settings."""

# ruff: noqa: F401
import gc

# Found by their names, at the first use.
import celery.apps.worker
import celery.bin.worker
import celery.fixups.django
import celery.worker.components
import celery.worker.consumer
import kombu.transport.redis
from sqlalchemy.orm import configure_mappers

import dispatcher.asgi
import dispatcher.cli.app
import dispatcher.transport.curl.transport
import dispatcher.transport.threaded.transport
import workers.celery_app
import workers.loop
import workers.processes

configure_mappers()
gc.freeze()  # otherwise each process looks through all this when it ends, and so copies it
