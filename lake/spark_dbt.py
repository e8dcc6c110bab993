"""dbt on Spark: `python -m lake.spark_dbt build` in the place of `dbt build`, and whether this machine can do that."""

import os
import shutil
import sys
from importlib.util import find_spec

from lake.settings import Settings, get_settings


class EngineError(RuntimeError):
    """The engine of the settings is not there; the message says what to install."""


def check(settings: Settings) -> None:
    """Look for what the engine of the settings needs, and start nothing.

    Raises
    ------
    EngineError : it is Spark, and a package or Java is missing.
    """
    if settings.engine != "spark":
        return
    missing = [name for name in ("pyspark", "dbt.adapters.spark") if find_spec(name) is None]
    if missing:
        raise EngineError(f"LAKEHOUSE_ENGINE is spark, and {missing[0]} is not installed: pip install '.[spark]'.")
    if not os.environ.get("JAVA_HOME") and shutil.which("java") is None:
        raise EngineError("LAKEHOUSE_ENGINE is spark, and there is no Java: install a JRE 17, or set JAVA_HOME.")


def main() -> None:
    """Run dbt, with the arguments of the command line, on Spark."""
    os.environ["LAKEHOUSE_ENGINE"] = "spark"
    try:
        check(get_settings())
    except EngineError as error:
        sys.exit(str(error))

    from dbt.cli.main import dbtRunner

    from lake import spark_adapter

    spark_adapter.install()
    sys.exit(not dbtRunner().invoke(sys.argv[1:]).success)


if __name__ == "__main__":
    main()
