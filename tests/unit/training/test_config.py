import dataclasses
from pathlib import Path

import pytest

from dinrank.model.layers.calibration import CalibrationMethod
from dinrank.model.layers.mlp import Activation
from dinrank.model.nets.config import NetworkConfig
from dinrank.training.config import TrainConfig
from dinrank.training.errors import ConfigError


def read(path: Path, text: str) -> TrainConfig:
    file = path / "train.toml"
    file.write_text(text, encoding="utf-8")
    return TrainConfig.read(file)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "") == TrainConfig()


def test_named_keys_change_and_the_others_keep_their_default(tmp_path: Path) -> None:
    text = """
        epochs = 3
        learning_rate = 0.01
        mini_batch_aware_l2 = 1  # a whole number is a float too
        [network]
        tower = [20, 10]
        unit_activation = "prelu"
        interest_product = false
    """
    network = NetworkConfig(tower=(20, 10), unit_activation=Activation.PRELU, interest_product=False)
    expected = TrainConfig(network=network, epochs=3, learning_rate=0.01, mini_batch_aware_l2=1.0)
    found = read(tmp_path, text)
    assert found == expected
    assert type(found.mini_batch_aware_l2) is float
    assert type(found.network.unit_activation) is Activation


@pytest.mark.parametrize("option", [field.name for field in dataclasses.fields(TrainConfig) if field.name != "network"])
def test_every_training_option_can_be_set(tmp_path: Path, option: str) -> None:
    default = getattr(TrainConfig(), option)
    value = CalibrationMethod.ISOTONIC if isinstance(default, str) else 0.25 if isinstance(default, float) else 7
    text = f"'{value}'" if isinstance(default, str) else str(value)
    assert read(tmp_path, f"{option} = {text}") == dataclasses.replace(TrainConfig(), **{option: value})


REFUSED = {
    "epochs must be at least 1, not 0": "epochs = 0",
    "learning_rate must be positive, not -1.0": "learning_rate = -1",
    "auxiliary_weight must be 0 or more, not -0.5": "auxiliary_weight = -0.5",
    "max_behaviour_dropout must be between 0 and 1, not 1.5": "max_behaviour_dropout = 1.5",
    "mini_batch_aware_l2 must be 0 or more, not -1.0": "mini_batch_aware_l2 = -1",
    "l2 must be 0 or more, not -0.5": "l2 = -0.5",
    r"l2 must be below 1 / embedding_learning_rate = 10\.0, not 10\.0": "embedding_learning_rate = 0.1\nl2 = 10",
    "unit needs at least one hidden layer": "[network]\nunit = []",
    r"dropout must be at least 0 and below 1, not 1\.0": "[network]\ndropout = 1",
    "unknown key 'epoch'; known are epochs, ": "epoch = 3",
    "unknown key 'towers'; known are embedding_dim, ": "[network]\ntowers = [3]",
    "unknown key 'networks'": "[networks]\ntower = [3]",
    "epochs takes int like 10, found '3'": "epochs = '3'",
    "epochs takes int like 10, found True": "epochs = true",
    "epochs takes int like 10, found 3.0": "epochs = 3.0",
    "learning_rate takes float like 0.001, found 'fast'": "learning_rate = 'fast'",
    "learning_rate takes float like 0.001, found False": "learning_rate = false",
    "interest_product takes bool like True, found 1": "[network]\ninterest_product = 1",
    r"tower takes tuple like \(200, 80\), found 200": "[network]\ntower = 200",
    r"tower takes tuple like \(200, 80\), found \[200, 0\]": "[network]\ntower = [200, 0]",
    r"tower takes tuple like \(200, 80\), found \[2.5\]": "[network]\ntower = [2.5]",
    "tower_activation is one of dice, prelu, relu, not 'gelu'": "[network]\ntower_activation = 'gelu'",
    "tower_activation takes Activation like <Activation.DICE: 'dice'>, found 1": "[network]\ntower_activation = 1",
    "calibration is one of platt, isotonic, none, not 'temperature'": "calibration = 'temperature'",
    r"network is a section \[network\], found 3": "network = 3",
    "cannot be read as TOML": "epochs =",
}


@pytest.mark.parametrize(("message", "text"), REFUSED.items(), ids=range(len(REFUSED)))
def test_a_key_or_value_that_cannot_be_used_is_refused(tmp_path: Path, message: str, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"train\.toml: {message}"):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read as TOML: .*No such file"):
        TrainConfig.read(tmp_path / "nowhere.toml")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_bytes(b"epochs = 3 # \xff")
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        TrainConfig.read(tmp_path / "train.toml")
