"""Fuzz targets for every reader of files; ``python -m fuzz`` runs them."""
