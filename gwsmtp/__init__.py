"""gwsmtp: a multiprocess, pre-fork SMTP gateway. Start reading at ARCHITECTURE.md."""

__version__ = "0.1.0"
