"""`python -m sagahook.embedded.app_check MODULE`: tries an app before the stack runs it.

In a process of its own, because it runs the user's code. Prints `{"directory", "source", "keys"}` as JSON: where that
code is, a source of webhooks that it wants (or null), and the paths that such a body must have. Else prints what is
wrong on stderr, and exits with 1.
"""

import json
import sys
import traceback
from pathlib import Path

from sagahook.saga import AppError, DefinitionError, load_app


def main() -> int:
    name = sys.argv[1]
    try:
        app = load_app(name)
    except (AppError, DefinitionError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except Exception:
        sys.stderr.write(f"importing {name} fails:\n{traceback.format_exc(limit=-3)}")
        return 1
    module = sys.modules[Path(name).stem if name.endswith(".py") else name]
    triggers = [trigger for definition in app.definitions() for trigger in definition.triggers]
    first = next(iter(triggers), None)
    directory = Path(module.__file__ or ".").resolve().parent
    facts = {
        "directory": str(directory),
        "source": first.source if first else None,
        "keys": first.identifying if first else (),
    }
    sys.stdout.write("\n" + json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
