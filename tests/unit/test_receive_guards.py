"""What we lean on inside pynetdicom: an upgrade that moves any of it must fail here."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pynetdicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.acse import ACSE
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE, StateMachine
from pynetdicom.service_class_n import StorageCommitmentServiceClass
from pynetdicom.transport import (
    AssociationServer,
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

import oncopixel_pacs
from oncopixel_pacs.digests import DatasetDigest
from oncopixel_pacs.errors import DatasetMismatch, OutOfResources
from oncopixel_pacs.receive.guards import PYNETDICOM_VERSION
from oncopixel_pacs.receive.spool import BEGINNING_BYTES, Spool
from oncopixel_pacs.store.direct_file import ChunkPool
from oncopixel_pacs.store.free_space import FreeSpace

SIGNATURES: dict[Any, str] = {
    AssociationSocket.__init__: "(self, assoc, client_socket, address)",
    AssociationSocket.recv: "(self, nr_bytes)",
    DIMSEServiceProvider.__init__: "(self, assoc)",
    DIMSEServiceProvider.receive_primitive: "(self, primitive)",
    DIMSEServiceProvider.get_msg: "(self, block)",
    DIMSEServiceProvider.send_msg: "(self, primitive, context_id)",
    DULServiceProvider.__init__: "(self, assoc)",
    DULServiceProvider._is_transport_event: "(self)",
    DULServiceProvider._read_pdu_data: "(self)",
    DULServiceProvider.run_reactor: "(self)",
    DULServiceProvider.idle_timer_expired: "(self)",
    RequestHandler._create_association: "(self)",
    RequestHandler.handle: "(self)",
    StateMachine.do_action: "(self, event)",
    ACSE.send_reject: "(self, result, source, diagnostic)",
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
    (DIMSEMessage.decode_msg, ("presentation_data_value_list",)),
    (DIMSEMessage.encode_msg, ("presentation_data_value_list",)),
    (DIMSEServiceProvider.receive_primitive, ("message", "event_queue", "msg_queue")),
    (DIMSEServiceProvider.send_msg, ("send_pdu",)),
    (Association.__init__, ("dul", "dimse", "acse_timeout", "network_timeout")),
    (Association._run_reactor, ("get_msg", "_reactor_checkpoint", "idle_timer_expired")),
    (Association.kill, ("_reactor_checkpoint", "stop_dul")),
    (Association._abort_blocking, ("_reactor_checkpoint", "send_abort", "_shutdown_socket")),
    (ACSE._negotiate_as_acceptor, ("_accepted_cx", "send_accept", "is_established")),
    (DULServiceProvider.__init__, ("to_provider_queue", "to_user_queue", "_idle_timer")),
    (
        DULServiceProvider.run_reactor,
        ("_process_recv_primitive", "_is_transport_event", "_idle_timer", "restart", "do_action"),
    ),
    (DULServiceProvider._is_transport_event, ("current_state", "ready", "_read_pdu_data", "close")),
    (DULServiceProvider._process_recv_primitive, ("to_provider_queue", "queue")),
    (DULServiceProvider.send_pdu, ("to_provider_queue", "put")),
    (AssociationSocket.__init__, ("event_queue",)),
    (AssociationSocket.send, ("socket", "event_queue")),
    (RequestHandler._create_association, ("deepcopy", "contexts", "supported_contexts")),
    (StorageCommitmentServiceClass._n_action_scp, ("send_msg",)),
    (DULServiceProvider._read_pdu_data, ("recv",)),
    (AssociationServer.shutdown, ("_servers",)),
    (Association.run_reactor, ("is_rejected", "is_aborted", "receive_pdu")),
    (DULServiceProvider.receive_pdu, ("to_user_queue", "get")),
    (AssociationSocket.close, ("_shutdown_socket",)),
    (DULServiceProvider.run_reactor, ("state_machine", "do_action", "_kill_thread")),
    (StateMachine.do_action, ("InvalidEventError", "current_state", "TRANSITION_TABLE")),
    (RequestHandler.handle, ("_create_association",)),
    (RequestHandler._create_association, ("request", "remote")),
    (ThreadedAssociationServer.process_request_thread, ("finish_request",)),
    (ACSE._negotiate_as_acceptor, ("maximum_associations", "require_called_aet")),
    (AssociationSocket.connect, ("tls_args", "wrap_socket")),
]


def test_the_pinned_version_is_the_one_that_was_checked() -> None:
    assert pynetdicom.__version__ == PYNETDICOM_VERSION


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda item: item.__qualname__)
def test_what_we_override_has_the_signature_we_know(function: Any) -> None:
    names = ", ".join(inspect.signature(function).parameters)
    assert f"({names})" == SIGNATURES[function]


@pytest.mark.parametrize(
    ("function", "names"), NAMES, ids=lambda item: item.__qualname__ if callable(item) else item[0]
)
def test_the_library_still_uses_the_names_we_set(function: Any, names: tuple[str, ...]) -> None:
    code = function.__code__
    assert set(names) <= {*code.co_names, *code.co_consts, *code.co_varnames}


#: State of an established association, and what follows it (PS3.8 9.2.3).
TRANSITIONS = {
    ("Evt17", "Sta6"): "AA-4",
    ("Evt19", "Sta6"): "AA-8",
    ("Evt9", "Sta6"): "DT-1",
    ("Evt12", "Sta6"): "AR-2",
    ("Evt15", "Sta6"): "AA-1",
}


@pytest.mark.parametrize("cause", TRANSITIONS, ids=" in ".join)
def test_the_state_machine_does_what_our_events_count_on(cause: tuple[str, str]) -> None:
    assert TRANSITION_TABLE[cause] == TRANSITIONS[cause]


def test_the_states_have_the_names_we_ask_for() -> None:
    assert ACTIONS["AE-7"][2] == "Sta6"
    assert ACTIONS["AA-8"][2] == "Sta13"


def piece(count: int) -> memoryview:
    return memoryview(b"x" * count)


def test_a_spool_that_was_never_kept_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(FreeSpace(tmp_path, 0), ChunkPool(), limit_bytes=100)
    spool.add(piece(10))
    spool.discard()
    assert not list(tmp_path.iterdir())


def test_one_byte_too_many_is_remembered_and_the_rest_is_dropped(tmp_path: Path) -> None:
    spool = Spool(FreeSpace(tmp_path, 0), ChunkPool(), limit_bytes=100)
    for _ in range(50):
        spool.add(piece(10))
    with pytest.raises(OutOfResources, match="larger than"):
        spool.complete()
    assert not list(tmp_path.glob("*"))[0].stat().st_size
    spool.discard()


def test_a_folder_that_takes_no_file_is_remembered(tmp_path: Path) -> None:
    spool = Spool(FreeSpace(tmp_path / "missing", 0, lambda _: 1), ChunkPool(), limit_bytes=100)
    spool.add(piece(1))
    with pytest.raises(OutOfResources, match="disk does not take"):
        spool.complete()
    spool.discard()


def test_what_is_refused_from_the_start_is_never_written(tmp_path: Path) -> None:
    spool = Spool(
        FreeSpace(tmp_path, 0), ChunkPool(), 100, b"head", DatasetMismatch("Another class.")
    )
    spool.add(piece(10))
    with pytest.raises(DatasetMismatch):
        spool.complete()
    assert not list(tmp_path.iterdir())


def test_spools_do_not_share_a_file(tmp_path: Path) -> None:
    spools = [Spool(FreeSpace(tmp_path, 0), ChunkPool(), limit_bytes=1) for _ in range(8)]
    assert len(list(tmp_path.iterdir())) == 8
    for spool in spools:
        spool.discard()


@given(sizes=st.lists(st.integers(1, 300_000), max_size=20), beside_another=st.booleans())
def test_a_spool_holds_what_came_in_whatever_pieces(sizes: list[int], beside_another: bool) -> None:
    content = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    pool = ChunkPool()
    if beside_another:
        pool.one_beside.acquire()
    with TemporaryDirectory() as folder:
        spool = Spool(FreeSpace(Path(folder), 0), pool, 1 << 30, b"head")
        for part in content:
            spool.add(memoryview(part))
        received = spool.complete()
        dataset = b"".join(content)
        assert received.path.read_bytes() == b"head" + dataset
        assert (received.offset, received.size) == (4, 4 + len(dataset))
        assert received.digest == DatasetDigest(dataset).text()
        assert dataset.startswith(received.beginning)
        assert len(received.beginning) == min(len(dataset), BEGINNING_BYTES)
        spool.discard()
        assert pool.one_beside.locked() == beside_another


#: What is inside the library rather than its face.
INSIDES = {"dimse", "dul", "fsm", "transport"}
#: Besides the guards of the acceptor: connections that we open, closed when they are over.
REQUESTOR = "deliver/association.py"


def test_nothing_else_of_ours_leans_on_the_insides_of_the_library() -> None:
    package = Path(oncopixel_pacs.__file__).parent
    leaning = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for inside in re.findall(r"^from pynetdicom\.(\w+) import", path.read_text("utf-8"), re.M)
        if inside in INSIDES
    }
    assert REQUESTOR in leaning
    assert {Path(path).parent.as_posix() for path in leaning - {REQUESTOR}} == {"receive/guards"}
