"""The folder of results: `files` writes it, with `tables`, `plots` and, for report.html, `page`."""
