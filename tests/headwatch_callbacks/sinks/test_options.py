import lightning.pytorch as pl
import pytest
from lightning.pytorch.loggers import CSVLogger

from headwatch_callbacks.sinks import TrackerOptions, sinks_for
from tests.headwatch_callbacks.sinks.passes import ablation


@pytest.mark.parametrize("name", ["mosaic_every", "pictures_at_full_rate"])
def test_options_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}=0: it must be at least 1"):
        TrackerOptions(**{name: 0})


@pytest.mark.parametrize(("options", "columns"), [(None, 6), (TrackerOptions(per_head=False), 0)])
def test_options_decide_what_the_loggers_get(tmp_path, options, columns):
    logger = CSVLogger(tmp_path)
    trainer = pl.Trainer(
        logger=logger, default_root_dir=tmp_path, accelerator="cpu", enable_progress_bar=False
    )
    [sink] = sinks_for(trainer, options)
    sink.write(ablation())
    assert sum(name.startswith("heads/") for name in logger.experiment.metrics[0]) == columns
