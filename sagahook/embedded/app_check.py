"""`python -m sagahook.embedded.app_check MODULE`: tries an app before the stack runs it.

In a process of its own, because it runs the user's code. Prints `{"directory", "source"}` as JSON: where that code
is, and a source of webhooks that it wants (or null). Else prints what is wrong on stderr, and exits with 1.
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
    sources = [trigger.source for definition in app.definitions() for trigger in definition.triggers]
    directory = Path(module.__file__ or ".").resolve().parent
    sys.stdout.write("\n" + json.dumps({"directory": str(directory), "source": next(iter(sources), None)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
