"""What starts Python on the workers of Spark: it imports the functions of the models once, for all that it forks."""

from pyspark.daemon import manager

from lake import list_functions, sentiment  # noqa: F401

if __name__ == "__main__":
    manager()
