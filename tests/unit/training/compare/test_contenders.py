import dataclasses
from pathlib import Path

import pytest

from dinrank.model.layers.gru import Evolution
from dinrank.model.layers.interest import Pooling
from dinrank.model.layers.mlp import Activation
from dinrank.model.nets.config import NetworkConfig, Product
from dinrank.model.nets.names import NetworkName
from dinrank.training.compare.contenders import Contender, read_contenders
from dinrank.training.config import TrainConfig
from dinrank.training.errors import ConfigError

SHIPPED = Path(__file__).parents[4] / "bench" / "variants.toml"
COMMON = TrainConfig(batch_size=64, network=NetworkConfig(embedding_dim=8, dropout=0.2))


def write(folder: Path, text: str) -> Path:
    file = folder / "variants.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_all_is_every_network_with_the_common_config() -> None:
    assert read_contenders("all", config=COMMON) == [Contender(name.value, name, COMMON) for name in NetworkName]


def test_a_list_is_its_networks_once_each_in_its_order() -> None:
    assert [one.name for one in read_contenders("din,lr, fm,din", config=COMMON)] == ["din", "lr", "fm"]


def test_a_variant_changes_what_it_names_and_keeps_the_rest_of_the_common_config(tmp_path: Path) -> None:
    file = write(tmp_path, "[quick]\nmodel = 'din'\nlearning_rate = 1\n[quick.network]\nunit = [36]\n")
    network = NetworkConfig(embedding_dim=8, dropout=0.2, unit=(36,))
    expected = Contender("quick", NetworkName.DIN, TrainConfig(batch_size=64, learning_rate=1.0, network=network))
    assert read_contenders("lr", config=COMMON, variants=file) == [Contender("lr", NetworkName.LR, COMMON), expected]


def test_epochs_are_the_same_for_all(tmp_path: Path) -> None:
    file = write(tmp_path, "[long]\nmodel = 'lr'\nepochs = 99\n")
    found = read_contenders("fm", config=COMMON, variants=file, epochs=2)
    assert [one.config for one in found] == [dataclasses.replace(COMMON, epochs=2)] * 2


def test_the_shipped_variants_are_what_their_names_say() -> None:
    found = {one.name: one for one in read_contenders("lr", config=TrainConfig(), variants=SHIPPED)}
    paper = NetworkConfig(
        unit=(36,),
        unit_activation=Activation.PRELU,
        initial_weight=0.0,
        interest_pooling=Pooling.SUM,
        interest_product=False,
    )
    assert found["din-paper"].config == TrainConfig(network=paper, max_behaviour_dropout=0.0)
    prelu = NetworkConfig(unit=(36,), unit_activation=Activation.PRELU)
    assert found["din-prelu-36"].config == TrainConfig(network=prelu)
    assert found["din-mba"].config.mini_batch_aware_l2 > 0.0
    assert found["base-mean"].config == TrainConfig(network=NetworkConfig(pooling=Pooling.MEAN))
    assert found["pnn-outer"].config == TrainConfig(network=NetworkConfig(product=Product.OUTER))
    for evolution in (Evolution.AGRU, Evolution.AIGRU):
        assert found[f"dien-{evolution}"].config == TrainConfig(network=NetworkConfig(evolution=evolution))
    assert all(one.config != TrainConfig() for one in found.values() if one.name != one.model)
    assert all(one.name.split("-")[0] == one.model for one in found.values())


REFUSED = {
    r"--models: unknown network 'dnn'; known are lr, ": ("dnn", ""),
    r"--models: unknown network ''": ("lr,", ""),
    r"\[x\]: a variant is a section with a model": ("lr", "[x]\nepochs = 3"),
    r"\[epochs\]: a variant is a section": ("lr", "epochs = 3"),
    r"\[x\]: unknown network 'dnn'": ("lr", "[x]\nmodel = 'dnn'"),
    r"\[x\]: unknown network 3": ("lr", "[x]\nmodel = 3"),
    r"\[x\]: unknown key 'epoch'; known are epochs, ": ("lr", "[x]\nmodel = 'lr'\nepoch = 3"),
    r"\[x\]: unknown key 'towers'": ("lr", "[x]\nmodel = 'lr'\n[x.network]\ntowers = [3]"),
    r"\[x\]: unknown key 'networks'": ("lr", "[x]\nmodel = 'lr'\n[x.networks]\ntower = [3]"),
    r"\[x\]: epochs must be at least 1, not 0": ("lr", "[x]\nmodel = 'lr'\nepochs = 0"),
    r"\[fm\]: a variant's name .* is not that of a network": ("lr", "[fm]\nmodel = 'lr'"),
    r"\[../x\]: a variant's name has small letters": ("lr", "['../x']\nmodel = 'lr'"),
    r"cannot be read as TOML": ("lr", "[x"),
}


@pytest.mark.parametrize(("message", "given"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_cannot_be_compared_is_refused_and_named(tmp_path: Path, message: str, given: tuple[str, str]) -> None:
    models, text = given
    with pytest.raises(ConfigError, match=message):
        read_contenders(models, config=COMMON, variants=write(tmp_path, text))
