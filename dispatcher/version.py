"""The version, and the user agent of requests where a webhook's contract sets no other."""

__version__ = "0.2.0"

USER_AGENT = f"Dispatcher/{__version__}"
