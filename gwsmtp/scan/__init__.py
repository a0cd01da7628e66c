"""L3: asking scan engines for a verdict: the wire, the connections, the pool."""
