"""Where `celery -A workers` finds the app."""

import sys

from dispatcher.errors import ConfigurationError
from dispatcher.settings import read_settings
from workers.celery_app import make_celery

try:
    app = make_celery(read_settings())
except ConfigurationError as error:
    sys.exit(f"Error: {error}")
