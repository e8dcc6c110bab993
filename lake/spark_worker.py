"""What starts Python on Spark's workers: it imports the functions of the models once, for all that are forked from it."""

from pyspark.daemon import manager

from lake import list_functions, sentiment  # noqa: F401

if __name__ == "__main__":
    manager()
