"""Modules behind tools/lab: corpus, attacks, benchmark, quality and speed of the earmark command line."""
