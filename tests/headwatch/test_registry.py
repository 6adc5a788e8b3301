import pytest

from headwatch.registry import Registry, one_of


@pytest.fixture
def registry():
    return Registry("metric")


def test_what_was_registered_is_found(registry):
    registry.register("loss", 1)
    assert registry.find("loss") == registry["loss"] == 1
    assert list(registry) == ["loss"]


def test_register_decorates_and_gives_the_function_back(registry):
    @registry.register("twice")
    def twice(x):
        return 2 * x

    assert registry["twice"] is twice
    assert twice(2) == 4


def test_a_name_is_taken_once(registry):
    registry.register("loss", 1)
    with pytest.raises(ValueError, match="metric 'loss' is registered already"):
        registry.register("loss", 2)
    assert registry["loss"] == 1


def test_an_unknown_name_is_refused_with_the_known_ones(registry):
    registry.register("loss", 1)
    registry.register("kl", 2)
    with pytest.raises(ValueError, match="unknown metric 'los'; known: loss, kl, or a Metric"):
        registry.find("los", ", or a Metric")


def test_one_of():
    assert one_of("kind", "mean", ("zero", "mean")) == "mean"
    with pytest.raises(ValueError, match="unknown kind 'meen'; known: zero, mean"):
        one_of("kind", "meen", ("zero", "mean"))
