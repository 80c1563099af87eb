"""Networks that map an image to flow, spread and depth."""
