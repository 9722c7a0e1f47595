"""Flower's configuration file: `celery -A workers flower --conf=deploy/flower/flowerconfig.py`.

The values come from the same environment variables as everything else, so that no command line holds the password. An
option on the command line (`--port`, `--address` inside a container) takes precedence over this file.
"""

from dispatcher.errors import ConfigurationError
from dispatcher.logs.process import refuse
from dispatcher.settings import read_settings
from workers.flower import flower_options

try:
    globals().update(flower_options(read_settings()))  # Flower reads this module's names as its options
except ConfigurationError as error:
    refuse(error)
