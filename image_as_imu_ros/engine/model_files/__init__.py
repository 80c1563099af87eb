"""Model files: their precisions and the plans made of them."""
