"""I/O. What the proxy tells about itself: log lines, for now."""
