"""The command line: one small file for each command, imported when it is called."""
