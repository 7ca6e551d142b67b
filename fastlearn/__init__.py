"""From a folder of pictures to a trained and understood model, inside a notebook."""

import os

# OpenMP's threads spin while they wait for one another, which starves whoever else has work: the threads that read
# pictures, another notebook. With one busy neighbour on two cores, an epoch took ten times as long. torch reads this
# when it loads, so it helps where fastlearn is imported first; what the user has set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
