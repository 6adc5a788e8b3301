"""Which process trains into a record: one at a time, on network file systems too, and none that was killed for good.

Each taker creates the next file `owner-N.json`, which the file system lets one of them do; the highest N counts. What
is another's is never moved, so nobody can take it by mistake, and the earlier owner sees the higher number before it
writes. An owner that ended without a word is known by its process where that can be looked up, and elsewhere by a
file that has not been touched for a while.
"""

import json
import os
import re
import secrets
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from headwatch.record.fields import Fields
from headwatch.record.whole_file import create_whole, write_whole

QUIET_SECONDS = 15 * 60  # after which an owner that can't be looked up is taken for dead
TOUCH_SECONDS = 60
_TRIES = 100
_TEXTS = ("token", "host", "place", "started", "job", "restart", "state")
State = Literal["writing", "finished", "interrupted"]


class TakenOverError(ValueError):
    """Another process trains into the record now."""


@dataclass(frozen=True)
class Owner:
    """Who trains, or trained, into a record.

    Attributes:
        number: of how many owners it is the last.
        token: what tells it from every other.
        host: the name of its machine, for people.
        place: where its process id means something: a machine since its last start, and a namespace of it.
        process: its process id.
        started: when that process began, as its machine counts.
        job: the cluster's job, where there is one.
        restart: how often that job was started again: none of its earlier processes is alive.
        state: whether it is at it, came to its end, or was interrupted.
    """

    number: int
    token: str
    host: str
    place: str
    process: int
    started: str
    job: str
    restart: str
    state: str

    @property
    def described(self) -> str:
        """Which process it is, in words."""
        return f"process {self.process} on {self.host}"


class Ownership:
    """A record that this process trains into, until it is released.

    Args:
        directory: the record's directory.
        owner: this process.
        previous: who had the record before; None for a new one.
    """

    def __init__(self, directory: Path, owner: Owner, previous: Owner | None) -> None:
        self.directory, self.owner, self.previous = directory, owner, previous
        self._touched = time.monotonic()

    def check(self) -> None:
        """Make sure that the record is still this process's.

        Raises:
            TakenOverError: another process took it.
        """
        found = current_owner(self.directory)
        if found is None:  # deleted, with the whole record or by somebody who thought this process dead
            self.directory.mkdir(parents=True, exist_ok=True)
            create_whole(_file(self.directory, self.owner.number), _json(self.owner))
            found = current_owner(self.directory)
        if found is None or found.token != self.owner.token:
            by = "another process" if found is None else found.described
            raise TakenOverError(f"{self.directory} was taken over by {by}")
        self.touch()

    def touch(self) -> None:
        """Show that this process is alive, once a minute at most, for those who can't look it up."""
        if time.monotonic() - self._touched > TOUCH_SECONDS:
            self._touched = time.monotonic()
            with suppress(OSError):
                os.utime(_file(self.directory, self.owner.number))

    def release(self, state: State) -> None:
        """Let others have the record; `interrupted` where training did not come to its end."""
        found = current_owner(self.directory)
        if found is not None and found.token == self.owner.token:
            text = _json(replace(self.owner, state=state))
            write_whole(_file(self.directory, self.owner.number), lambda stream: stream.write(text))

    def abandon(self) -> None:
        """Leave everything as if the record had not been taken."""
        _file(self.directory, self.owner.number).unlink(missing_ok=True)

    def forget_earlier(self) -> None:
        """Remove the files of earlier owners."""
        for number in _numbers(self.directory):
            if number < self.owner.number:
                _file(self.directory, number).unlink(missing_ok=True)


def take(directory: Path) -> Ownership:
    """Make this process the owner of a record.

    Raises:
        ValueError: another process is, or may be, alive that trains into it.
    """
    for _ in range(_TRIES):
        last = current_owner(directory)
        check_free(directory, last)
        owner = _this_process(1 if last is None else last.number + 1)
        if not create_whole(_file(directory, owner.number), _json(owner)):
            continue
        if current_owner(directory) == owner:
            return Ownership(directory, owner, last)
        _file(directory, owner.number).unlink(missing_ok=True)
    raise ValueError(f"{directory} is being taken by other processes: give another record=")


def check_free(directory: Path, owner: Owner | None) -> None:
    """Refuse a record into which another process trains.

    Raises:
        ValueError: it is alive, or may be.
    """
    if owner is None or owner.state != "writing":
        return
    if owner.place == _place():
        if _is_alive(owner):
            raise ValueError(
                f"{directory} is being written by another run, {owner.described}: give another record="
            )
        return
    job, restart = _job()
    if job and owner.job == job and owner.restart != restart:
        return
    file = _file(directory, owner.number)
    quiet = _now(directory) - file.stat().st_mtime
    if quiet < QUIET_SECONDS:
        raise ValueError(
            f"{directory} is being written by another run, {owner.described}, {max(quiet, 0):.0f} s ago: give another "
            f"record=, or, if that process is gone, wait for {QUIET_SECONDS // 60} minutes, or delete {file} and go on "
            "from a checkpoint"
        )


def current_owner(directory: Path) -> Owner | None:
    """Who took the record last; None for one that nobody trained into."""
    for number in sorted(_numbers(directory), reverse=True):
        try:
            return _read(_file(directory, number), number)
        except FileNotFoundError:  # removed meanwhile
            continue
    return None


def _read(file: Path, number: int) -> Owner:
    try:
        values = Fields(json.loads(file.read_bytes()))
        texts: Mapping[str, Any] = {name: values.text(name) for name in _TEXTS}
        return Owner(number=number, process=values.integer("process"), **texts)
    except (ValueError, AttributeError, TypeError, RecursionError):
        # Half a file, of a file system that can't link: whoever it was, its age says whether it is alive.
        return Owner(number, "", "an unknown machine", "", 0, "", "", "", "writing")


def _numbers(directory: Path) -> list[int]:
    if not directory.is_dir():
        return []
    found = (re.fullmatch(r"owner-([0-9]{1,9})\.json", name) for name in os.listdir(directory))
    return [int(match[1]) for match in found if match is not None]


def _file(directory: Path, number: int) -> Path:
    return directory / f"owner-{number}.json"


def _json(owner: Owner) -> bytes:
    values = {name: value for name, value in asdict(owner).items() if name != "number"}
    return json.dumps(values, indent=1).encode()


def _this_process(number: int) -> Owner:
    process = os.getpid()
    where = (socket.gethostname(), _place(), process, _started(process) or "", *_job())
    return Owner(number, secrets.token_hex(16), *where, "writing")


def _job() -> tuple[str, str]:
    """Slurm's number of this process's job, and how often it was started again."""
    return os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_RESTART_COUNT", "0")


def _place() -> str:
    """The machine since its last start and the namespace of process ids; without Linux's files, its name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _is_alive(owner: Owner) -> bool:
    try:
        os.kill(owner.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    started = _started(owner.process)
    # Another process may have got the number meanwhile; one that waits to be reaped has ended.
    return started is None or not owner.started or started == owner.started


def _started(process: int) -> str | None:
    """When a process began, in ticks since its machine did; "ended" for one that is a zombie, None where unknown."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if fields[0] in "ZX" else fields[19]


def _now(directory: Path) -> float:
    """The time by the clock that dates the directory's files, which may be another machine's."""
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".", suffix=".part") as file:
        return os.fstat(file.fileno()).st_mtime
