"""The toy models of Paint by Example."""
