"""Sends, forks, and sends from both: prints an event id for each, or ends with an error."""

import os
import sys

from sagahook.integrations import publish
from sagahook.integrations.blocking import Waiting

saga = Waiting(publish())


def send(parcel: str) -> None:
    accepted = saga.send("parcels", {"parcel": parcel})
    sys.stdout.write(f"{parcel} {accepted.event_id}\n")
    sys.stdout.flush()


def main() -> None:
    send("of the parent, before")
    child = os.fork()
    if child == 0:
        send("of the child")
        return  # and so to the interpreter's end, with whatever is called there
    _, status = os.waitpid(child, 0)
    send("of the parent, after")
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
