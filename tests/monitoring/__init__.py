"""What is made for `deploy/monitoring/`, and whether a real Prometheus agrees with it."""
