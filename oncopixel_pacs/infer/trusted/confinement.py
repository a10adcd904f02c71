"""How a process shuts itself in, for good, before it runs the code of a stranger (Linux).

Three locks, all of which hold without any privilege and none of which can be opened again:

- seccomp(2): no socket of any kind, no other program, no new process, no signal to another
  process, no change of rights on files, nothing that only administration needs;
- landlock(7): files below the listed folders can be read, those below one scratch folder written,
  and no others opened at all; where the kernel knows it, no TCP and no signal either;
- setrlimit(2): memory, size of a file, open files, no core dump.

Standard library only: it is called before anything that starts threads is imported, since
landlock binds the calling thread and those that it starts.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same on all machines
_LEAST_LANDLOCK = 3  # before it (Linux 6.2) a file that may only be read could be truncated
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_EXECUTE, _MAKE_DEVICES = 1 << 0, 1 << 6 | 1 << 11  # character and block devices
_EVERY_ACCESS = {3: (1 << 15) - 1, 4: (1 << 15) - 1}  # by version of landlock; 5 adds a bit
_NEWEST_ACCESS = (1 << 16) - 1
_FILE_ACCESS = _READ_FILE | _EXECUTE
_TCP, _ABSTRACT_SOCKETS_AND_SIGNALS = 0b11, 0b11

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER, _TSYNC = 1, 1
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000

#: Machine, then: its number in audit filters, its column below, and its number of seccomp(2).
_MACHINES = {"x86_64": (0xC000003E, 0, 317), "aarch64": (0xC00000B7, 1, 277)}
_NONE = -1  # a call that a machine does not have

#: System calls that are answered with EPERM, by their numbers on x86-64 and on 64-bit ARM.
FORBIDDEN: Mapping[str, tuple[int, int]] = {
    # the network, and every other way to talk to another process
    **{"socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "accept": (43, 202)},
    **{"accept4": (288, 242), "bind": (49, 200), "listen": (50, 201), "sendto": (44, 206)},
    **{"sendmsg": (46, 211), "sendmmsg": (307, 269), "recvfrom": (45, 207), "recvmsg": (47, 212)},
    **{"recvmmsg": (299, 243), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190)},
    **{"mq_open": (240, 180), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426)},
    **{"io_uring_register": (427, 427)},
    # other programs and processes
    **{"execve": (59, 221), "execveat": (322, 281), "fork": (57, _NONE), "vfork": (58, _NONE)},
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271)},
    **{"kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138)},
    **{"rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438)},
    **{"pidfd_send_signal": (424, 424), "process_madvise": (440, 440)},
    # who owns a file and what may be done with it, which landlock leaves alone
    **{"chmod": (90, _NONE), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452)},
    **{"chown": (92, _NONE), "fchown": (93, 55), "lchown": (94, _NONE), "fchownat": (260, 54)},
    **{"setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7)},
    **{"removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16)},
    **{"utime": (132, _NONE), "utimes": (235, _NONE), "utimensat": (280, 88)},
    **{"futimesat": (261, _NONE), "open_by_handle_at": (304, 265)},
    # the machine as a whole
    **{"unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39)},
    **{"pivot_root": (155, 41), "chroot": (161, 51), "mount_setattr": (442, 442)},
    **{"move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430)},
    **{"fsmount": (432, 432), "keyctl": (250, 219), "add_key": (248, 217)},
    **{"request_key": (249, 218), "bpf": (321, 280), "perf_event_open": (298, 241)},
    **{"userfaultfd": (323, 282), "kexec_load": (246, 104), "kexec_file_load": (320, 294)},
    **{"init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106)},
    **{"reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "quotactl": (179, 60)},
    **{"acct": (163, 89), "settimeofday": (164, 170), "clock_settime": (227, 112)},
    **{"adjtimex": (159, 171), "clock_adjtime": (305, 266), "sethostname": (170, 161)},
    **{"setdomainname": (171, 162), "syslog": (103, 116), "setuid": (105, 146)},
    **{"setgid": (106, 144), "setreuid": (113, 145), "setresuid": (117, 147)},
    **{"capset": (126, 91), "personality": (135, 92)},
}
_CLONE, _CLONE3, _TGKILL, _PRLIMIT = (56, 220), (435, 435), (234, 131), (302, 261)


class NotConfinable(Exception):
    """One of the locks is not to be had here; says which, in half a sentence."""


def require_confinable() -> None:
    """Check that this machine has the locks, without closing any.

    Raises
    ------
    NotConfinable
        When it has not.
    """
    if platform.system() != "Linux" or platform.machine() not in _MACHINES:
        raise NotConfinable("they are shut in on Linux alone, on x86-64 or 64-bit ARM")
    if _landlock_version() < _LEAST_LANDLOCK:
        raise NotConfinable("this kernel has no landlock of version 3, so use Linux 6.2 or later")


def limit_resources(memory_bytes: int) -> None:
    """Bound what this process may use; memory is that which it writes to itself."""
    for what, most in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 256 << 20),
        (resource.RLIMIT_NOFILE, 256),
    ):
        _, allowed = resource.getrlimit(what)
        most = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
        resource.setrlimit(what, (most, most))


def restrict_files(readable: Iterable[Path], scratch: Path) -> None:
    """Leave this process the listed files and folders to read, and one folder to write.

    Raises
    ------
    NotConfinable, OSError
        When the kernel does not do it.
    """
    version = _landlock_version()
    if version < _LEAST_LANDLOCK:
        raise NotConfinable("this kernel has no landlock of version 3, so use Linux 6.2 or later")
    every = _EVERY_ACCESS.get(version, _NEWEST_ACCESS)
    fields = [every, _TCP, _ABSTRACT_SOCKETS_AND_SIGNALS]
    known = fields[: 1 if version < 4 else 2 if version < 6 else 3]
    rules = struct.pack(f"={len(known)}Q", *known)
    ruleset = _call(_LANDLOCK_CREATE, rules, len(rules), 0)
    try:
        for path in readable:
            if path.exists():
                folder = _READ_FOLDER if path.is_dir() else 0
                _allow_below(ruleset, path, _READ_FILE | folder)
        _allow_below(ruleset, scratch, every & ~(_EXECUTE | _MAKE_DEVICES))
        _no_new_privileges()
        _call(_LANDLOCK_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def restrict_calls() -> None:
    """Leave this process and all its threads the system calls that computing takes.

    Raises
    ------
    NotConfinable, OSError
        When the kernel does not do it.
    """
    machine = platform.machine()
    if machine not in _MACHINES:
        raise NotConfinable("they are shut in on Linux alone, on x86-64 or 64-bit ARM")
    code = _filter(machine, os.getpid())
    program = ctypes.create_string_buffer(code, len(code))
    length = len(code) // 8
    header = struct.pack("@HP", length, ctypes.addressof(program))
    _no_new_privileges()
    # One thread that could not follow is answered with its number.
    if _call(_MACHINES[machine][2], _SECCOMP_SET_MODE_FILTER, _TSYNC, header) != 0:
        raise NotConfinable("seccomp did not bind every thread")


def _filter(machine: str, own_pid: int) -> bytes:
    """Assemble the classic BPF program over ``struct seccomp_data`` (number, machine, …)."""
    audit, column, _ = _MACHINES[machine]
    steps = [
        (_LOAD, 0, 0, 4),
        (_JUMP_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        # On x86-64 the same calls have a second number.
        (_JUMP_GREATER, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    for numbers in FORBIDDEN.values():
        if numbers[column] != _NONE:
            steps += [(_JUMP_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    # Its flags lie in memory, where a filter cannot look; the C library takes clone instead.
    steps += [(_JUMP_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    steps += _unless(_CLONE[column], (_JUMP_SET, 0, 1, _CLONE_THREAD))
    steps += _unless(_TGKILL[column], (_JUMP_EQUAL, 0, 1, own_pid))
    steps += _unless(_PRLIMIT[column], (_JUMP_EQUAL, 0, 1, 0))
    steps += [(_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _unless(number: int, test: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """Forbid a call unless its first argument passes a test."""
    return [
        (_JUMP_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, 16),
        test,
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]


def _allow_below(ruleset: int, path: Path, access: int) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _call(_LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", access, opened), 0)
    finally:
        os.close(opened)


def _landlock_version() -> int:
    try:
        return _call(_LANDLOCK_CREATE, None, 0, 1)
    except OSError:
        return 0


def _no_new_privileges() -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")


def _call(number: int, *arguments: int | bytes | None) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    plain = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    found = int(library.syscall(ctypes.c_long(number), *plain))
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found
