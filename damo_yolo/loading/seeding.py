"""Counter-based generators: every sample of every epoch draws from its own."""

import numpy as np


def generator(seed: int, epoch: int, lane: int, index: int) -> np.random.Generator:
    """Return the generator of one sample; a pure function of its four numbers.

    Run and epoch are the key of Philox, lane and index the upper half of its counter: no two
    samples share a random number, whoever draws them and in whatever order.

    Args:
        seed: of the run, from 0.
        epoch: from 0.
        lane: of the global order.
        index: position in the lane.
    """
    return np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 0, lane, index]))
