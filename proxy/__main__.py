"""`python -m proxy` is `attune`."""

from proxy.cli import main

main()
