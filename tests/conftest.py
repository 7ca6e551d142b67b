"""One process, no window, quiet threads: the same for every test."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning OpenMP threads starve a neighbour; read when torch loads

import matplotlib

matplotlib.use("Agg")

# A shell starts its background jobs with Ctrl-C ignored, and the tests that press it would press in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)
