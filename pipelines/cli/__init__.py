"""The command line, one file per group of commands. It holds no logic: it reads options, calls, and prints."""
