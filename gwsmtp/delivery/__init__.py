"""L3: where a message goes and how it gets there; recipients asked of their own hosts."""
