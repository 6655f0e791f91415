"""`sandbox`: a worker with embedded servers, to test a producer against."""
