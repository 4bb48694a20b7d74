"""`python -m sparkml_ops`."""

from sparkml_ops.cli import main

if __name__ == "__main__":
    main()
