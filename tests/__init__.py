"""The tests; two run at once on two cores, so no library gets threads of its own: to wait for them burns the cores."""

import os

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
os.environ |= dict.fromkeys(_THREADS, "1")
