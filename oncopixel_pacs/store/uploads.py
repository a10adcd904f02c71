"""Uploads over HTTP in the database: what came, never the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus

from sqlmodel import Session, col, select

from oncopixel_pacs.domain.uploads import FileOutcome, Upload, UploadedImage
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.idempotency import KEPT, forget_old
from oncopixel_pacs.store.tables import InstanceRow
from oncopixel_pacs.store.tallies import insert_new
from oncopixel_pacs.store.upload_tables import IdempotencyKeyRow, UploadRow


class Uploads:
    """Uploads by id, and by the idempotency key that they came with."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def upload(self, upload_id: str) -> Upload:
        """Return one upload.

        Raises
        ------
        NotFound
            When there is none with this id.
        """
        with self._database.read() as session:
            row = session.get(UploadRow, upload_id)
            if row is None:
                raise NotFound(f"There is no upload {upload_id}.")
            return _to_upload(row)

    def recent(self, limit: int) -> tuple[Upload, ...]:
        """List the newest uploads, the newest first."""
        newest = select(UploadRow).order_by(col(UploadRow.created_at).desc()).limit(limit)
        with self._database.read() as session:
            return tuple(_to_upload(row) for row in session.exec(newest).all())

    def keep(self, upload: Upload, key: str, content: str, now: datetime) -> Upload:
        """Keep an upload, and the key that stands for it when there is one.

        Parameters
        ----------
        key
            Digest of the key, with the one who sent it.
        content
            Digest of what was sent.

        Returns
        -------
        Upload
            As kept first, when the same was uploaded before; its images as they are now.
        """
        with self._database.write() as session:
            row = session.get(UploadRow, upload.id)
            if row is None:
                row = UploadRow(id=upload.id, created_at=upload.created_at, images=[])
                session.add(row)
            row.images = [asdict(item) for item in upload.images]
            session.flush()
            if key:
                known = {"key": key, "content": content, "expires_at": now + KEPT}
                known |= {"status": HTTPStatus.ACCEPTED, "upload_id": upload.id}
                insert_new(session, IdempotencyKeyRow, known)
            return _to_upload(row)

    def known(self, key: str, now: datetime) -> tuple[str, str] | None:
        """Find the upload id and the digest of what was sent under an idempotency key.

        The id is empty where the key was used for a request that was no upload.
        """
        with self._database.write() as session:
            forget_old(session, now)
            row = session.get(IdempotencyKeyRow, key)
            return None if row is None else (row.upload_id, row.content)

    def studies_of(self, sop_instance_uids: Sequence[str]) -> dict[str, str]:
        """Find the study of each of these images that is held."""
        with self._database.read() as session:
            return _studies_of(session, sop_instance_uids)

    def all_uploaded(self, study_instance_uid: str, source: str) -> bool:
        """Whether every image of a study came from this source."""
        others = select(InstanceRow.sop_instance_uid).where(
            InstanceRow.study_instance_uid == study_instance_uid,
            InstanceRow.calling_ae_title != source,
        )
        with self._database.read() as session:
            return session.exec(others.limit(1)).first() is None


def _studies_of(session: Session, uids: Sequence[str]) -> dict[str, str]:
    found = select(InstanceRow.sop_instance_uid, InstanceRow.study_instance_uid).where(
        col(InstanceRow.sop_instance_uid).in_(uids)
    )
    return dict(session.exec(found).all())


def _to_upload(row: UploadRow) -> Upload:
    images = tuple(
        UploadedImage(
            item["name"],
            FileOutcome(item["outcome"]),
            item["sop_instance_uid"],
            item["study_instance_uid"],
            item["detail"],
            item.get("digest", ""),
        )
        for item in row.images
    )
    return Upload(row.id, row.created_at, images)
