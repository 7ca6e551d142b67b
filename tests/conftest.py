"""One process, no window, quiet threads: the same for every test."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning OpenMP threads starve a neighbour; read when torch loads

import matplotlib

matplotlib.use("Agg")
