"""L0: the vocabulary every other package speaks. Standard library only, no I/O of its own."""
