"""Modules behind tools/lab: corpus, attacks, benchmark, quality, packets and speed of the earmark command line."""
