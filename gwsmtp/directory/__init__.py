"""L2: the organisations as a worker looks at them: a domain's owner, hosts and recipient rule."""
