"""`python -m scorefield`, which is how launchers of several processes start a command."""

import sys

from scorefield.cli.main import main

sys.exit(main())
