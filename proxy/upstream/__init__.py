"""I/O. Servers we send to: where they listen, the connections to them and one exchange on each."""
