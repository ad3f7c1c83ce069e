"""``python -m appliance`` is the ``appliance`` command."""

import sys

from appliance.ops.commands.cli import main

sys.exit(main())
