"""What a data protection officer reads, checks, signs and proves."""
