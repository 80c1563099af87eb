"""One reader each for captures and data sets."""
