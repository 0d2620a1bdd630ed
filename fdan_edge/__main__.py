"""`python -m fdan_edge` is the command `fdan-edge`."""

from fdan_edge.cli import main

if __name__ == "__main__":
    main()
