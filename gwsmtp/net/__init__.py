"""L2: what more than one part needs of the network and of threads; gevent lives here and above."""
