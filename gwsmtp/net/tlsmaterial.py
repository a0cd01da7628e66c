"""What TLS towards clients is made of: contexts of the standard library, chosen by server name.

Made by the master before the fork (``master.tlscontexts``), used by workers (``session.tls``), so
this module knows neither gevent nor files. All workers of a generation hold the same contexts and
with them the same ticket keys: a session resumes on any of them. Tickets are the first context's
whatever certificate was shown (OpenSSL's session context does not change with the server name).

Never refused for its server name: SMTP clients often ask for a name of their own making, and a
certificate that does not fit is theirs to judge (RFC 6066 3 allows to go on).
"""

import ssl
from collections.abc import Mapping
from typing import Any


class ServerSide(ssl.SSLObject):
    """The standard library's TLS over buffers; ``asked_name`` is the server name the client asked
    for, as it came.
    """

    asked_name = ""


class TlsMaterial:
    """``context`` begins every handshake; ``by_name`` has those of other server names, in lower
    case, ``*.DOMAIN`` for any one label.
    """

    __slots__ = ("_by_name", "context")

    def __init__(
        self, context: ssl.SSLContext, by_name: Mapping[str, ssl.SSLContext] | None = None
    ) -> None:
        self.context = context
        self._by_name = dict(by_name or {})
        context.sslobject_class = ServerSide
        context.sni_callback = self._choose

    def context_for(self, server_name: str) -> ssl.SSLContext:
        """The context whose certificate is for ``server_name``, else the first."""
        name = server_name.lower().rstrip(".")
        found = self._by_name.get(name)
        if found is None:
            found = self._by_name.get(f"*.{name.partition('.')[2]}", self.context)
        return found

    def _choose(self, connection: Any, server_name: str | None, _: ssl.SSLContext) -> None:
        # Called by OpenSSL within the handshake, once, whether or not a name was asked for.
        if server_name:
            connection.asked_name = server_name
            context = self.context_for(server_name)
            if context is not self.context:
                connection.context = context
