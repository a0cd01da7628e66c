"""L4: the embedded scan engine, one implementation of scan/PROTOCOL.md among others."""
