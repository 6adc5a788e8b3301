"""The ready-made tasks, as help texts list them.

Spelled out, because importing `headwatch.tasks` takes seconds and help is to answer at once; a test holds the
list to the registry.
"""

TASK_NAMES = ("ioi", "induction", "greater_than", "gendered_pronoun", "capitals", "subject_verb")
TASKS_HELP = ", ".join(TASK_NAMES)
