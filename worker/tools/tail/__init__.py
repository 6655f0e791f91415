"""`tail`: prints results as they come."""
