"""Offline training of the blur network: rendering, training, export. Needs torch; the runtime never imports it."""
