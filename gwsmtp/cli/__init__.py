"""The command line: one small file per command, imported when called; only here is printed."""
