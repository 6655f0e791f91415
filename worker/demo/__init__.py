"""The demo: embedded servers, simulated factories, the real worker, and a check of the promise."""
