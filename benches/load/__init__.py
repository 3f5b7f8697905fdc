"""A worker under load: in its own processes, on loopback, bounded in count and time. `make load` and `make soak`."""
