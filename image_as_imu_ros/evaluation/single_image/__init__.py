"""One image file → velocity up to sign, with camera and exposure from its EXIF."""
