"""The subcommands of `visual-insertion`, one module each.

A module offers `register(subparsers)`: it adds its parser and sets `run`, a function of the parsed
arguments that returns the exit code (0 done, 1 a problem, 2 wrong use or something missing). What
is slow to import, torch above all, is imported inside `run`.
"""
