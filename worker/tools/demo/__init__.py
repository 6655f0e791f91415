"""`demo`: embedded servers, simulated factories and the real worker."""
