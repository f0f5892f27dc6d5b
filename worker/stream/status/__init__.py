"""The status page: what the worker is doing now, for people. Built beside the event loop, from the same metrics that
Prometheus scrapes."""
