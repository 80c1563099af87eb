"""Motion-blurred training images with exact motion fields, rendered by torch on any device."""
