"""The tools by the names that the table shows; each is imported only where it is used."""

from importlib import import_module
from typing import Any

from transformers import GPT2LMHeadModel

from benchmarks.tools.plain_hooks import PlainHooks

HEADWATCH, REFERENCE = "headwatch", "float64 reference"
BOUND, BOUND_BLAS = "bound", "bound, addmm"
BOUNDS = (BOUND, BOUND_BLAS)
TOOLS = (
    HEADWATCH,
    "plain hooks",
    "plain hooks, last logits",
    "TransformerLens",
    "nnsight",
    "pyvene",
    "captum",
)
PACKAGES = ("torch", "transformers", "headwatch", "transformer-lens", "nnsight", "pyvene", "captum")


_PLACES = {
    HEADWATCH: ("headwatch_engine", "Headwatch"),
    "TransformerLens": ("bridge", "Bridge"),
    "nnsight": ("nnsight_trace", "Trace"),
    "pyvene": ("pyvene_unit", "Unit"),
    "captum": ("captum_layers", "Layers"),
    BOUND: ("arithmetic", "Arithmetic"),
    BOUND_BLAS: ("arithmetic", "WithAddmm"),
}


def make(name: str, model: GPT2LMHeadModel) -> Any:
    """The tool of that name over a model, which it may change.

    Raises:
        ValueError: no tool has that name.
    """
    if name in ("plain hooks", "plain hooks, last logits", REFERENCE):
        return PlainHooks(model.double() if name == REFERENCE else model, last_only=name != "plain hooks")
    if name not in _PLACES:
        raise ValueError(f"no tool is called {name!r}; known: {', '.join(TOOLS)}")
    module, tool = _PLACES[name]
    return getattr(import_module(f"benchmarks.tools.{module}"), tool)(model)
