"""Training: real datasets in, measured MONAI bundles out. The server never imports it."""
