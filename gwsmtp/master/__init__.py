"""The master: binds, forks, watches, passes signals on. No gevent, no DNS, as little as can be."""
