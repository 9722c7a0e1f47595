"""Whether an installation is well, and why not: for `/readyz`, `/metrics`, `dispatcher doctor` and `status`."""
