"""The benchmark: fob alone, fob beside its peers, and a thousand functions; docs/performance.md."""
