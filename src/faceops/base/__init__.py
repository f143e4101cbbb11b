"""Used by all packages: files, locks, errors, progress, reasons, CPUs, analytics."""
