"""The tasks that are known by name; `headwatch.tasks` fills it, and users may add their own."""

from collections.abc import Callable

from headwatch.prompts.pairs import PromptPairs
from headwatch.registry import Registry

TASKS: Registry[Callable[..., PromptPairs]] = Registry("task")
