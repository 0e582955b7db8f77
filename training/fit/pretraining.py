"""Pre-training: FNN begins with the parameters of a trained factorisation machine."""

import dataclasses

import numpy as np
from rich.console import Console

from dinrank.model.nets.fm import FM
from dinrank.model.nets.fnn import FNN
from dinrank.model.nets.registry import Network
from dinrank.training.config import TrainConfig
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.data.split import TRAIN
from dinrank.training.fit.loop import train
from dinrank.training.fit.progress import TrainingProgress

_STREAM = 1  # sets its shuffles apart from those of the training that follows with the same seed


def pretrain(network: Network, data: EncodedDataset, config: TrainConfig, *, seed: int, console: Console) -> None:
    """Train an FM and copy its linear term and its vectors into an FNN; other networks are left as they are.

    The FM is trained like any network, for at most `config.fm_pretraining_epochs`, and ends in its best state on
    `valid`. It has no checkpoint: a training killed meanwhile starts it again.

    Raises:
        TrainingDiverged: the FM's loss became NaN or infinite.

    Source: Zhang et al., "Deep Learning over Multi-field Categorical Data", ECIR 2016, section 3.1.
    """
    if not isinstance(network, FNN) or config.fm_pretraining_epochs == 0:
        return
    fm = FM(data.encoder.schema, config.network)
    fm_config = dataclasses.replace(config, epochs=config.fm_pretraining_epochs)
    console.print(
        f"pre-training an FM, epochs at most {fm_config.epochs}; FNN begins with its parameters", highlight=False
    )
    with TrainingProgress(console, fm_config, num_samples=len(data.split_rows[TRAIN])) as progress:
        train(
            fm,
            data,
            fm_config,
            rng=np.random.default_rng([seed, _STREAM]),
            on_step=progress.advance,
            on_evaluation=progress.show,
        )
    network.linear.load_state_dict(fm.linear.state_dict())
    network.fields.load_state_dict(fm.fields.state_dict())
    console.print("training FNN")
