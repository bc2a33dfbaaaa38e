"""The parts of `python dev.py bench device`: each runs in a process of its own and writes what it finds as it goes."""
