"""What EHLO offers, and which parameters that makes legal.

A keyword stands here only when what it promises is kept. Order is that of the list.
"""


class Offer:
    """The extensions of one listener: built once per worker and kind of session.

    ``size_limit`` in octets: -1 offers no SIZE at all (row 54), 0 offers SIZE without a limit
    (row 55, RFC 1870 3). ``custom`` are row 50's lines, appended as they are.
    """

    __slots__ = ("custom", "size_limit")

    def __init__(self, size_limit: int, custom: tuple[str, ...] = ()) -> None:
        self.size_limit = size_limit
        self.custom = custom

    def keywords(self) -> list[str]:
        """The lines of the EHLO reply after the first."""
        lines = ["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"]
        if self.size_limit >= 0:
            lines.insert(1, f"SIZE {self.size_limit}" if self.size_limit else "SIZE")
        lines.extend(self.custom)
        return lines
