"""``python -m lstm97.cli`` is the command `lstm97` too, as ``python -m mpi4py.futures -m lstm97.cli`` needs it."""

from lstm97.cli import main

if __name__ == "__main__":
    main()
