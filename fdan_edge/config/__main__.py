"""Prints all settings as Markdown: `python -m fdan_edge.config`."""

import sys

from fdan_edge.config.table import settings_table

sys.stdout.write(settings_table())
