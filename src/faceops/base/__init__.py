"""What every room uses: files, locks, errors, progress, reasons, CPUs, analytics."""
