"""Analysis of a file without running it: its entry point, its convention, its dependencies."""
