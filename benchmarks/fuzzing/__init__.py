"""Damaged files by the thousand: how they are made, who reads them, and what counts as survived."""
