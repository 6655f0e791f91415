"""`submit`: publishes the rows of a file and writes their answers to another file."""
