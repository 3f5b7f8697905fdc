"""What is kept about a visitor, under which rule and which lock."""
