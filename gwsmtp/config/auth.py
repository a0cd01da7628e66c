"""Users of SMTP AUTH (row 53): a password file, or the domains' own hosts."""

from typing import Literal

from gwsmtp.config.setting import Group, setting
from gwsmtp.config.types import OptionalPath


class AuthGroup(Group):
    """Where user names and passwords are checked."""

    backend: Literal["file", "passthrough"] = setting(
        "file",
        title="AUTH back end",
        description="file: a password file. passthrough: the SMTP host of the user's domain is "
        "asked, over TLS.",
    )
    file: OptionalPath = setting(
        None,
        title="Password file",
        description="One user:hash[:flags] a line, made by gwsmtp passwd; re-read when it changes.",
    )
