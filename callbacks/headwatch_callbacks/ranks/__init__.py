"""One training in several processes: how they share a pass out, and wait for each other as long as it takes."""

from headwatch_callbacks.ranks.ranks import Ranks as Ranks
from headwatch_callbacks.ranks.shared_pass import run_shared_pass as run_shared_pass
