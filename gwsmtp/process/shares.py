"""How the processes of a gateway divide ``delivery.max_connections`` of a next hop among them.

Until the shared table counts them, each has a fixed share, so that all together stay below it.
"""


def queue_share(connections: int) -> int:
    """The queue's: an eighth, at least one."""
    return max(1, connections // 8)


def worker_share(connections: int, workers: int) -> int:
    """Each worker's: what the queue leaves, at least one."""
    return max(1, (connections - queue_share(connections)) // workers)
