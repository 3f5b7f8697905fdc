"""What shops bring in: rows of files and tables, mapped to events and attributes of pseudonymous visitors."""
