"""`python -m minimask` is the command `minimask`."""

from minimask.tools.cli import main

if __name__ == "__main__":
    main()
