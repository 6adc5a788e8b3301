"""Fields of MLflow's logger that are not its public face: this says which one is gone, should one go."""

import pytest
from lightning.pytorch.loggers import MLFlowLogger

pytest.importorskip("mlflow", reason="needs the extra headwatch[mlflow]")


@pytest.mark.filterwarnings("ignore::Warning:mlflow")
def test_an_mlflow_logger_still_says_where_it_writes(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    logger = MLFlowLogger(tracking_uri=uri)
    assert hasattr(logger, "_tracking_uri"), (
        "the field MLFlowLogger._tracking_uri has gone: trackers/mlflow.py reads it to refuse the file store"
    )
    assert logger._tracking_uri == uri
