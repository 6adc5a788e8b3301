"""What runs are called where several are shown: by their names, and runs of one name by their folders too."""

from collections.abc import Sequence
from pathlib import Path

from headwatch.page.shortened import shortened


def run_names(runs: Sequence[tuple[str, Path]]) -> list[str]:
    """A name for each run, no two alike.

    Example:
        >>> run_names([("lora", Path("runs/a/lora")), ("lora", Path("runs/b/lora")), ("full", Path("runs/full"))])
        ['lora · a/lora', 'lora · b/lora', 'full']

    Args:
        runs: the name and the folder of each.
    """
    alike = [[folder for other, folder in runs if other == name] for name, _ in runs]
    named = [
        shortened(name if len(folders) == 1 else f"{name} · {_ending(folder, folders)}")
        for (name, folder), folders in zip(runs, alike, strict=True)
    ]
    # A run given twice, or one that is called as another and its folder are.
    return [
        name if name not in named[:place] else f"{name} ({named[:place].count(name) + 1})"
        for place, name in enumerate(named)
    ]


def _ending(folder: Path, folders: Sequence[Path]) -> str:
    """The last parts of a folder's path, as many as tell it from the others."""
    for count in range(1, len(folder.parts) + 1):
        endings = [other.parts[-count:] for other in folders]
        if endings.count(folder.parts[-count:]) == 1:
            return "/".join(folder.parts[-count:])
    return str(folder)
