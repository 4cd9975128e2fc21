"""Models, one folder each, and the registry of their sizes."""
