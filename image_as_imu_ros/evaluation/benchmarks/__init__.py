"""Benchmarks: the time that engines take on this machine; many recordings in one table."""
