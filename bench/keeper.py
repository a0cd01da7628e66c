"""The next hop of bench/attack: keeps the number of every message, so that losses can be counted.

``python -m bench.keeper --file FILE --ready-fd FD``: a line a message in FILE, written before the
message is acknowledged: what a client was told is accepted must stand there, once. Mailboxes that
begin with ``unknown`` do not exist here. One process, bounded by the alarm its starter sets.
"""

import argparse
import json
import os
import socket  # for its names only
from typing import Any, BinaryIO

from gevent.server import StreamServer

MARK = b"X-Bench: "


def serve(sock: Any, file: BinaryIO) -> None:
    """One connection, until it ends."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = sock.makefile("rb")
    try:
        sock.sendall(b"220 keeper.example ESMTP\r\n")
        while line := lines.readline(4096):
            verb = line[:4].upper()
            if verb == b"DATA":
                sock.sendall(b"354 go on\r\n")
                if not keep(lines, file):
                    return
            sock.sendall(answer(verb, line))
            if verb == b"QUIT":
                return
    except OSError:
        pass
    finally:
        lines.close()
        sock.close()


def answer(verb: bytes, line: bytes) -> bytes:
    """What a command hears."""
    if verb == b"EHLO":
        return b"250-keeper.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
    if verb == b"RCPT" and b"<unknown" in line.lower():
        return b"550 5.1.1 no such mailbox\r\n"
    return b"221 2.0.0 bye\r\n" if verb == b"QUIT" else b"250 2.0.0 ok\r\n"


def keep(lines: BinaryIO, file: BinaryIO) -> bool:
    """Reads one message and notes its number; False where the connection ended before its dot."""
    number = b""
    while line := lines.readline(65536):
        if line == b".\r\n":
            file.write(number + b"\n")
            return True
        if not number and line.startswith(MARK):
            number = line[len(MARK) :].strip()
    return False


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    options = parser.parse_args()
    with open(options.file, "ab", buffering=0) as file:  # noqa: PTH123
        server = StreamServer(("127.0.0.1", 0), lambda sock, _: serve(sock, file), backlog=1024)
        server.start()
        listen = [f"127.0.0.1:{server.server_port}"]
        os.write(options.ready_fd, json.dumps({"listen": listen}).encode() + b"\n")
        os.close(options.ready_fd)
        server.serve_forever()


if __name__ == "__main__":
    main()
