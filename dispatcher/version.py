"""The version, and the user agent of requests where a webhook's contract sets no other."""

__version__ = "0.3.0.dev0"

USER_AGENT = f"Dispatcher/{__version__}"
