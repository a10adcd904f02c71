"""What a person decides about other content under a known UID: which of the two is right.

Senders do it when they correct a name or a view and send the images again as they were numbered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from oncopixel_pacs.domain import Instance, StudyHeader
from oncopixel_pacs.domain.conflicts import Conflict, Difference, ShownConflict
from oncopixel_pacs.errors import CannotUnderstand, ConfigurationError, NotFound, OutOfResources
from oncopixel_pacs.imaging.differences import differences
from oncopixel_pacs.receive.header import read_header
from oncopixel_pacs.receive.intake import describe
from oncopixel_pacs.store.conflicts import Conflicts
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.deletion_lock import deletion_lock
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.removal import removal_of


@dataclass(frozen=True)
class ConflictSettling:
    """Shows conflicts and carries out what was decided.

    Parameters
    ----------
    now
        Clock, timezone-aware UTC.
    """

    database: Database
    files: FileStore
    now: Callable[[], datetime]

    @property
    def _conflicts(self) -> Conflicts:
        return Conflicts(self.database)

    def of_study(
        self, study_instance_uid: str, limit: int | None = None
    ) -> tuple[ShownConflict, ...]:
        """List the conflicts of a study with what tells the contents apart, the oldest first.

        Parameters
        ----------
        limit
            How many at most: two headers are read for each.

        Raises
        ------
        NotFound
            When nothing of it was received.
        """
        found = self._conflicts.of_study(study_instance_uid)[:limit]
        return tuple(self._shown(item) for item in found)

    def dismiss(self, study_instance_uid: str, ids: Sequence[int] = ()) -> int:
        """Keep what is held, and remove what came later; returns how many.

        Parameters
        ----------
        ids
            Of the conflicts; every one of the study when there are none.

        Raises
        ------
        NotFound
            When there is no such study or conflict.
        ConfigurationError
            When someone else settled one of them meanwhile.
        OutOfResources
            While a backup or a deletion is under way.
        """
        chosen = self._chosen(study_instance_uid, ids)
        paths = [item.path for item in chosen]
        with self._removing(paths):
            self._conflicts.dismiss(study_instance_uid, chosen)
        return len(chosen)

    def take(self, study_instance_uid: str, ids: Sequence[int] = ()) -> int:
        """Put what came later in place of what is held, and have the study read anew.

        Where several contents came under one UID the last of those chosen is taken, and the
        others chosen are removed. Returns how many images have other content now.

        Raises
        ------
        NotFound
            When there is no such study or conflict.
        ConfigurationError
            When a job of the study is at work, someone else settled a conflict meanwhile, or the
            content is of another study.
        OutOfResources
            When a file cannot be read, or while a backup or a deletion is under way.
        """
        chosen = self._chosen(study_instance_uid, ids)
        last = {item.sop_instance_uid: item for item in chosen}
        dismissed = [item for item in chosen if last[item.sop_instance_uid] is not item]
        read = [(item, *self._read(item)) for item in last.values()]
        if not read:
            return 0
        taken = [(item, instance) for item, instance, _ in read]
        paths = [*(item.held_path for item in last.values()), *(item.path for item in dismissed)]
        # Before a file moves that its job may be reading.
        self._conflicts.require_rest(study_instance_uid)
        with self._removing(paths):
            header = read[-1][2]
            self._conflicts.take(study_instance_uid, taken, dismissed, header, self.now())
        return len(taken)

    def _shown(self, item: Conflict) -> ShownConflict:
        held, other = self.files.absolute(item.held_path), self.files.absolute(item.path)
        try:
            return ShownConflict(item, differences(held, other))
        except OSError as exc:
            why = f"cannot be read now ({exc.strerror or exc})"
            return ShownConflict(item, (Difference("(file)", None, why),))

    def _chosen(self, study_instance_uid: str, ids: Sequence[int]) -> list[Conflict]:
        found = {item.id: item for item in self._conflicts.of_study(study_instance_uid)}
        missing = [number for number in ids if number not in found]
        if missing:
            raise NotFound(
                f"Study {study_instance_uid} has no conflict {missing[0]}; it may be settled."
            )
        return [found[number] for number in sorted(set(ids))] if ids else list(found.values())

    def _read(self, item: Conflict) -> tuple[Instance, StudyHeader]:
        path = self.files.absolute(item.path)
        try:
            facts, header = describe(read_header(path))
            size = path.stat().st_size
        except OSError as exc:
            raise _unread(exc) from exc
        except CannotUnderstand as exc:
            raise ConfigurationError(f"What came later cannot be read any more. {exc}") from exc
        if facts.study_instance_uid != item.study_instance_uid:
            raise ConfigurationError(
                f"What came later under {item.sop_instance_uid} is of another study, "
                f"{facts.study_instance_uid}; it cannot be put into this one. Dismiss it. Where an "
                "archive merged or split the study, see that our results moved there, too; else "
                "have its sender give it a SOP Instance UID of its own."
            )
        instance = Instance(
            facts,
            item.path,
            item.digest,
            size,
            item.received_at,
            item.calling_ae_title,
        )
        return instance, header

    @contextlib.contextmanager
    def _removing(self, paths: Sequence[str]) -> Iterator[None]:
        """Remove files whose rows go in the block; those whose rows stay stay, too."""
        with deletion_lock(self.database, self.files.data_dir, wait=False) as still_held:
            if still_held is None:
                raise OutOfResources(
                    "A backup or a deletion is under way, for which every file must stay; try "
                    "again later."
                )
            removal = removal_of(self.database, self.files)
            if not removal.goes_with_rows:
                yield
                for path in paths:
                    self.files.discard(path)
                return
            try:
                removal.take(paths)
                yield
            except OSError as exc:
                raise _unread(exc) from exc
            finally:
                removal.mend(still_held)


def _unread(exc: OSError) -> OutOfResources:
    return OutOfResources(
        f"A file cannot be read or moved now ({exc.strerror or exc}); try again later."
    )
