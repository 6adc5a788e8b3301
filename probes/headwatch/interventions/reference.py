"""Other prompts whose activations an ablation writes."""

from headwatch.interventions.sites import ABLATIONS, check_one_length
from headwatch.model.architecture import Architecture
from headwatch.prompts.pairs import PromptPairs


def check_reference(
    reference: PromptPairs | None, kind: str, pairs: PromptPairs, network: Architecture
) -> PromptPairs | None:
    """The reference prompts on the model's device.

    Raises:
        ValueError: prompts that don't fit the model or the pairs, or a kind that writes nothing of other prompts.
    """
    if reference is None:
        return None
    taking = [each for each in ABLATIONS if each != "zero"]
    if kind not in taking:
        raise ValueError(
            f"reference= has no effect with kind={kind!r}: {', '.join(taking)} write what other prompts give"
        )
    reference.check(network.sizes)
    if kind != "mean":
        check_one_length(f"kind={kind!r} with reference=", reference)
        length, wanted = reference.clean.shape[1], pairs.clean.shape[1]
        if length != wanted:
            raise ValueError(
                f"kind={kind!r} needs reference prompts of the pairs' {wanted} tokens, these have {length}"
            )
    return reference.to(network.device)
