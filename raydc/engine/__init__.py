"""Ray: the driver, its actors and pipelines. No mathematics."""
