"""What requests call themselves, where a webhook's contract says nothing else."""

from dispatcher import __version__

USER_AGENT = f"Dispatcher/{__version__}"
