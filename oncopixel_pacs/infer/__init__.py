"""Running MONAI bundles: the safe loader, the child process, outputs to findings."""
