"""`submit`: publishes the rows of a file and writes their answers beside them."""
