"""The central side: from tables to a bundle."""
