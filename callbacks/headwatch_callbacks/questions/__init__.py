"""What a probe asks, in a form that any trainer can put to its model; none of it knows a trainer."""

from headwatch_callbacks.questions.ablation import Ablation
from headwatch_callbacks.questions.attention import Attention
from headwatch_callbacks.questions.patching import Patching
from headwatch_callbacks.questions.question import QUESTIONS, Moment, Question

__all__ = ["QUESTIONS", "Ablation", "Attention", "Moment", "Patching", "Question"]
