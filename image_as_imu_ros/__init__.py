"""Camera velocity from motion blur: one blurred frame in, angular and linear velocity out."""
