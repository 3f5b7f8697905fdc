"""What comes back: contributions wait, a release sums, noises and debits them, a report leaves."""
