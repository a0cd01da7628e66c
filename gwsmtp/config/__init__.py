"""Configuration: one frozen model per group of the manual, and what reads and checks the file."""
