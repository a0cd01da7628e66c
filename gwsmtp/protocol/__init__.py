"""L2: SMTP without sockets. Bytes go in, events come out, replies go through the same machine.

Plain values only: no configuration, no time, no logging, no I/O (architecture rule 2). ``server``
is the side that faces clients, ``client`` the side that faces next hops; ``data`` is the payload
rule both share, ``state`` the one place where the server's state moves.
"""
