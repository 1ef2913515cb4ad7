"""`python -m sagahook.embedded.app_check MODULE`: tries an app before the stack runs it.

In a process of its own, because it runs the user's code. Prints the directory of that code, or on stderr, with
exit code 1, what is wrong with it.
"""

import sys
import traceback
from pathlib import Path

from sagahook.saga import AppError, DefinitionError, load_app


def main() -> int:
    name = sys.argv[1]
    try:
        load_app(name)
    except (AppError, DefinitionError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except Exception:
        sys.stderr.write(f"importing {name} fails:\n{traceback.format_exc(limit=-3)}")
        return 1
    module = sys.modules[Path(name).stem if name.endswith(".py") else name]
    sys.stdout.write(str(Path(module.__file__ or ".").resolve().parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
