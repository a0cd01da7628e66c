"""L2: messages on disk. Plain files and values; whoever calls decides where blocking is allowed."""
