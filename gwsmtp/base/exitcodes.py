"""Exit codes of ``gwsmtp`` and of its children, the numbers of sysexits.h where one fits."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a process of ours ends with; shown by ``gwsmtp run --help``."""

    OK = 0
    FAILED = 1  # a command could not do what it was asked; the line on stderr says why
    USAGE = 2  # click's own code for a wrong command line
    UNAVAILABLE = 69  # a service that is needed does not answer
    BOOT_FAILED = 70  # a child died before it was ready, again and again
    CANNOT_BIND = 71  # an address to listen on is taken or not ours
    CANNOT_CREATE = 73  # a directory, the pidfile or the shared table cannot be made
    ALREADY_RUNNING = 75  # the pidfile names a living master
    NO_PERMISSION = 77  # privileges cannot be dropped to workers.user
    CONFIG = 78  # the configuration has problems


EXIT_CODE_MEANING: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "the command failed; stderr says why",
    ExitCode.USAGE: "wrong command line",
    ExitCode.UNAVAILABLE: "a needed service does not answer",
    ExitCode.BOOT_FAILED: "children die before they are ready",
    ExitCode.CANNOT_BIND: "an address to listen on is taken or not ours",
    ExitCode.CANNOT_CREATE: "a directory, the pidfile or the shared table cannot be created",
    ExitCode.ALREADY_RUNNING: "another master runs with this pidfile",
    ExitCode.NO_PERMISSION: "cannot become workers.user",
    ExitCode.CONFIG: "the configuration has problems",
}
