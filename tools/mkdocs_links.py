"""A hook of mkdocs: files outside docs/ are not part of the site, so links to them become their names."""

import re

_OUTSIDE = re.compile(r"\[([^]]+)]\((?:\.\./)[^)]*\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace links to files outside docs/ by their text, as mkdocs asks for it before it renders a page."""
    return _OUTSIDE.sub(r"\1", markdown)
