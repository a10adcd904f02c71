"""What we lean on inside pynetdicom: an upgrade that moves any of it must fail here."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pynetdicom
import pytest
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.service_class_n import StorageCommitmentServiceClass
from pynetdicom.transport import (
    AssociationServer,
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

from oncopixel_pacs.receive.guards import PYNETDICOM_VERSION
from oncopixel_pacs.receive.spool import Spool
from oncopixel_pacs.store.free_space import FreeSpace

SIGNATURES: dict[Any, str] = {
    AssociationSocket.__init__: "(self, assoc, client_socket, address)",
    AssociationSocket.recv: "(self, nr_bytes)",
    DIMSEServiceProvider.__init__: "(self, assoc)",
    DIMSEServiceProvider.receive_primitive: "(self, primitive)",
    DIMSEServiceProvider.get_msg: "(self, block)",
    DIMSEServiceProvider.send_msg: "(self, primitive, context_id)",
    RequestHandler._create_association: "(self)",
    AssociationServer.__init__: (
        "(self, ae, address, ae_title, contexts, ssl_context, evt_handlers, request_handler)"
    ),
    ThreadedAssociationServer.service_actions: "(self)",
    ApplicationEntity.make_server: (
        "(self, address, ae_title, contexts, ssl_context, evt_handlers, server_class, kwargs)"
    ),
}

#: Names that our code reads or sets, and the function of the library that uses them.
NAMES: list[tuple[Any, tuple[str, ...]]] = [
    (DIMSEMessage.__init__, ("_data_set_file", "_data_set_path")),
    (DIMSEMessage.decode_msg, ("_data_set_file", "file", "flush", "write", "_accepted_cx")),
    (DIMSEMessage.message_to_primitive, ("_dataset_file", "_dataset_path")),
    (StorageServiceClass.SCP, ("_dataset_file", "close", "unlink", "name")),
    (DIMSEServiceProvider.receive_primitive, ("message", "event_queue")),
    (Association._run_reactor, ("get_msg",)),
    (RequestHandler._create_association, ("deepcopy", "contexts", "supported_contexts")),
    (StorageCommitmentServiceClass._n_action_scp, ("send_msg",)),
    (DULServiceProvider._read_pdu_data, ("recv",)),
    (AssociationServer.shutdown, ("_servers",)),
    (Association.run_reactor, ("is_rejected", "is_aborted", "receive_pdu")),
    (DULServiceProvider.receive_pdu, ("to_user_queue", "get")),
    (AssociationSocket.close, ("_shutdown_socket",)),
]


def test_the_pinned_version_is_the_one_that_was_checked() -> None:
    assert pynetdicom.__version__ == PYNETDICOM_VERSION


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda item: item.__qualname__)
def test_what_we_override_has_the_signature_we_know(function: Any) -> None:
    names = ", ".join(inspect.signature(function).parameters)
    assert f"({names})" == SIGNATURES[function]


@pytest.mark.parametrize(("function", "names"), NAMES, ids=lambda item: str(item)[:40])
def test_the_library_still_uses_the_names_we_set(function: Any, names: tuple[str, ...]) -> None:
    code = function.__code__
    assert set(names) <= {*code.co_names, *code.co_consts, *code.co_varnames}


def test_a_store_request_carries_the_file_to_the_handler() -> None:
    assert C_STORE()._dataset_file is None
    assert issubclass(C_STORE_RQ, DIMSEMessage)


def test_a_spool_that_was_never_kept_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(FreeSpace(tmp_path, 0), limit_bytes=100)
    spool.write(b"x" * 10)
    spool.discard()
    assert not list(tmp_path.iterdir())


def test_one_byte_too_many_is_remembered_and_the_rest_is_dropped(tmp_path: Path) -> None:
    spool = Spool(FreeSpace(tmp_path, 0), limit_bytes=100)
    for _ in range(50):
        spool.write(b"x" * 10)
    spool.close()
    assert spool.error is not None
    assert Path(spool.name).stat().st_size == 100
    spool.discard()


def test_a_folder_that_takes_no_file_is_remembered(tmp_path: Path) -> None:
    spool = Spool(FreeSpace(tmp_path / "missing", 0, lambda _: 1), limit_bytes=100)
    spool.write(b"x")
    spool.close()
    spool.discard()
    assert "disk does not take" in str(spool.error)


def test_spools_do_not_share_a_file(tmp_path: Path) -> None:
    spools = [Spool(FreeSpace(tmp_path, 0), limit_bytes=1) for _ in range(8)]
    assert len({spool.name for spool in spools}) == 8
    for spool in spools:
        spool.discard()
