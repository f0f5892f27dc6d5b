"""`python -m worker` is `moderation-worker`."""

from worker.cli.main import main

main()
