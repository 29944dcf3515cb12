"""``python -m lstm97`` is the command `lstm97`."""

from lstm97.cli import main

if __name__ == "__main__":
    main()
