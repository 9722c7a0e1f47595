"""What a metric is, and how metrics are shown: for the API and for the nodes of workers."""
