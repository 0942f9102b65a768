"""What the site needs besides Sphinx and its extensions: code that is shown, links to it, docstrings."""
