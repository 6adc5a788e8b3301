"""What trackers are sent beyond one map a pass: a dataclass, so that a LightningCLI file can hold it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackerOptions:
    """What trackers are sent beyond one map a pass.

    Attributes:
        per_head: one series a head and probe (144 for GPT-2 small). None = only where a tracker takes no pictures.
        mosaic_every: draw every n-th set of attention maps; the last one is always drawn.
        pictures_at_full_rate: so many pictures a probe are drawn at every pass, as many again at every second pass,
            and so on: hosted trackers slow down beyond 1,000 files a run. The last pass is always drawn.

    Raises:
        ValueError: a number below 1.
    """

    per_head: bool | None = None
    mosaic_every: int = 5
    pictures_at_full_rate: int = 100

    def __post_init__(self) -> None:
        for name in ("mosaic_every", "pictures_at_full_rate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: it must be at least 1")
