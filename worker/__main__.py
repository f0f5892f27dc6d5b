"""`moderation-worker`, and `python -m worker`."""

import sys


def main() -> None:
    """The console script."""
    if "run" in sys.argv[1:]:
        # Before anything else: to import the commands takes a second, in which a worker may be stopped as well.
        from worker.stream.early_stop import until_the_loop_listens

        until_the_loop_listens()
    from worker.cli.main import main as commands

    commands()


if __name__ == "__main__":
    main()
