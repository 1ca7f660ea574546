"""`python -m plusx` is the command line."""

from plusx.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
