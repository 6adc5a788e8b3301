"""Other prompts that means are taken over."""

from headwatch.interventions.sites import KINDS_OF_MEANS, takes_means
from headwatch.model.architecture import Architecture
from headwatch.prompts.pairs import PromptPairs


def check_reference(
    reference: PromptPairs | None, kind: str, pairs: PromptPairs, network: Architecture
) -> PromptPairs | None:
    """The reference prompts on the model's device.

    Raises:
        ValueError: prompts that don't fit the model or the pairs, or a kind that takes no means.
    """
    if reference is None:
        return None
    if not takes_means(kind):
        raise ValueError(
            f"reference= has no effect with kind={kind!r}: only {' and '.join(KINDS_OF_MEANS)} take means"
        )
    reference.check(network.sizes)
    if kind == "position_mean" and (
        not reference.one_length or reference.clean.shape[1] != pairs.clean.shape[1]
    ):
        raise ValueError(
            f"kind='position_mean' needs reference prompts of the pairs' {pairs.clean.shape[1]} tokens, these have "
            f"{', '.join(map(str, reference.lengths.unique().tolist()))}"
        )
    return reference.to(network.device)
