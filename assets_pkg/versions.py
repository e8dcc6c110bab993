"""Which version of the code is running."""

import subprocess
from importlib.metadata import version
from pathlib import Path


def code_version() -> str:
    """The git commit of the checkout, else the version of the installed distribution."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return version("asset-lakehouse")
