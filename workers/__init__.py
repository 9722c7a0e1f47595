"""The delivery side: what Celery workers run."""
