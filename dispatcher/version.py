"""The version, and what requests call themselves where a webhook's contract says nothing else."""

__version__ = "0.1.0"

USER_AGENT = f"Dispatcher/{__version__}"
