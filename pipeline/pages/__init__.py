"""HTML pages of our own: templates and charts."""
