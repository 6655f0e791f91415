"""`doctor`: checks that servers, topics, rights and clocks are ready for a worker."""
