"""Identity: users, groups, capabilities, keys and other rights."""

from diorama.abi.io import Number
from diorama.catalogue.handles import InOut, Out
from diorama.catalogue.kinds import Address, Fd, Gid, Int, MaybeText, Size, Text, Uid, UInt, ULong
from diorama.catalogue.model import Request, request
from diorama.catalogue.pointers import InBuffer


@request(man="getuid(2)", classes="creds pure", forms={"getuid()": {}, "getuid32()": {}})
class GetUid(Request):
    """Get the real user id; 16 bits of it with the getuid of i386."""


@request(man="getuid(2)", classes="creds pure", forms={"geteuid()": {}, "geteuid32()": {}})
class GetEUid(Request):
    """Get the effective user id; 16 bits of it with the geteuid of i386."""


@request(man="getgid(2)", classes="creds pure", forms={"getgid()": {}, "getgid32()": {}})
class GetGid(Request):
    """Get the real group id; 16 bits of it with the getgid of i386."""


@request(man="getgid(2)", classes="creds pure", forms={"getegid()": {}, "getegid32()": {}})
class GetEGid(Request):
    """Get the effective group id; 16 bits of it with the getegid of i386."""


@request(man="getresuid(2)", classes="creds", forms={
    "getresuid(real:u32, effective:u32, saved:u32)": {},
    "getresuid@i386(real:u16, effective:u16, saved:u16)": {},
    "getresuid32(real:u32, effective:u32, saved:u32)": {},
})
class GetResUid(Request):
    """Get the real, effective and saved user ids."""

    real: Out[Number]
    effective: Out[Number]
    saved: Out[Number]


@request(man="getresuid(2)", classes="creds", forms={
    "getresgid(real:u32, effective:u32, saved:u32)": {},
    "getresgid@i386(real:u16, effective:u16, saved:u16)": {},
    "getresgid32(real:u32, effective:u32, saved:u32)": {},
})
class GetResGid(Request):
    """Get the real, effective and saved group ids."""

    real: Out[Number]
    effective: Out[Number]
    saved: Out[Number]


@request(man="setuid(2)", classes="creds", forms={
    "setuid(user)": {},
    "setuid@i386(user:16)": {},
    "setuid32(user)": {},
})
class SetUid(Request):
    """Set the user id."""

    user: Uid


@request(man="setgid(2)", classes="creds", forms={
    "setgid(group)": {},
    "setgid@i386(group:16)": {},
    "setgid32(group)": {},
})
class SetGid(Request):
    """Set the group id."""

    group: Gid


@request(man="setreuid(2)", classes="creds", forms={
    "setreuid(real, effective)": {},
    "setreuid@i386(real:16, effective:16)": {},
    "setreuid32(real, effective)": {},
})
class SetReUid(Request):
    """Set the real and effective user ids."""

    real: Uid
    effective: Uid


@request(man="setreuid(2)", classes="creds", forms={
    "setregid(real, effective)": {},
    "setregid@i386(real:16, effective:16)": {},
    "setregid32(real, effective)": {},
})
class SetReGid(Request):
    """Set the real and effective group ids."""

    real: Gid
    effective: Gid


@request(man="setresuid(2)", classes="creds", forms={
    "setresuid(real, effective, saved)": {},
    "setresuid@i386(real:16, effective:16, saved:16)": {},
    "setresuid32(real, effective, saved)": {},
})
class SetResUid(Request):
    """Set the real, effective and saved user ids."""

    real: Uid
    effective: Uid
    saved: Uid


@request(man="setresuid(2)", classes="creds", forms={
    "setresgid(real, effective, saved)": {},
    "setresgid@i386(real:16, effective:16, saved:16)": {},
    "setresgid32(real, effective, saved)": {},
})
class SetResGid(Request):
    """Set the real, effective and saved group ids."""

    real: Gid
    effective: Gid
    saved: Gid


@request(man="setfsuid(2)", classes="creds", forms={
    "setfsuid(user)": {},
    "setfsuid@i386(user:16)": {},
    "setfsuid32(user)": {},
})
class SetFsUid(Request):
    """Set the user id by which files are accessed; the result is the one before, and there is no error."""

    user: Uid


@request(man="setfsgid(2)", classes="creds", forms={
    "setfsgid(group)": {},
    "setfsgid@i386(group:16)": {},
    "setfsgid32(group)": {},
})
class SetFsGid(Request):
    """Set the group id by which files are accessed; the result is the one before, and there is no error."""

    group: Gid


@request(man="getgroups(2)", classes="creds", forms={
    "getgroups(count, groups)": {},
    "getgroups32(count, groups)": {},
})
class GetGroups(Request):
    """Get the supplementary groups, of 32 bits each, of 16 with the getgroups of i386."""

    count: Int
    groups: Address


@request(man="getgroups(2)", classes="creds", forms={
    "setgroups(count, groups)": {},
    "setgroups32(count, groups)": {},
})
class SetGroups(Request):
    """Set the supplementary groups, of 32 bits each, of 16 with the setgroups of i386."""

    count: Int
    groups: Address


@request(man="capget(2)", classes="creds", forms={"capget(header, data)": {}})
class CapGet(Request):
    """Get the capabilities of a thread."""

    header: InOut[Number]
    data: Address


@request(man="capget(2)", classes="creds", forms={"capset(header, data)": {}})
class CapSet(Request):
    """Set the capabilities of the thread."""

    header: InOut[Number]
    data: Address


@request(man="add_key(2)", forms={"add_key(type, description, payload, size, ring)": {}})
class AddKey(Request):
    """Add a key to a key ring."""

    type: Text
    description: MaybeText
    payload: InBuffer
    size: Size
    ring: Int


@request(man="request_key(2)", forms={"request_key(type, description, info, ring)": {}})
class RequestKey(Request):
    """Find a key, or have one made."""

    type: Text
    description: Text
    info: MaybeText
    ring: Int


@request(man="keyctl(2)", forms={"keyctl(operation, second, third, fourth, fifth)": {}})
class KeyCtl(Request):
    """Ask or tell something about keys."""

    operation: Int
    second: ULong
    third: ULong
    fourth: ULong
    fifth: ULong


@request(man="seccomp(2)", forms={"seccomp(operation, flags, arguments)": {}})
class Seccomp(Request):
    """Restrict the calls that the process may make."""

    operation: UInt
    flags: UInt
    arguments: Address


@request(man="landlock_create_ruleset(2)", classes="desc", returns="fd", forms={
    "landlock_create_ruleset(attributes, size, flags)": {},
})
class LandlockCreateRuleset(Request):
    """Make a set of rules for access to files and the network."""

    attributes: InBuffer
    size: Size
    flags: UInt


@request(man="landlock_add_rule(2)", forms={"landlock_add_rule(fd, type, attributes, flags)": {}})
class LandlockAddRule(Request):
    """Add a rule; it names a directory by a descriptor that stands in memory."""

    fd: Fd
    type: Int
    attributes: Address
    flags: UInt


@request(man="landlock_restrict_self(2)", forms={"landlock_restrict_self(fd, flags)": {}})
class LandlockRestrictSelf(Request):
    """Put the thread under a set of rules."""

    fd: Fd
    flags: UInt


@request(man="lsm_get_self_attr(2)", forms={"lsm_get_self_attr(attribute, context, size, flags)": {}})
class LsmGetSelfAttr(Request):
    """Get an attribute of the thread from a security module."""

    attribute: UInt
    context: Address
    size: Address
    flags: UInt


@request(man="lsm_set_self_attr(2)", forms={"lsm_set_self_attr(attribute, context, size, flags)": {}})
class LsmSetSelfAttr(Request):
    """Set an attribute of the thread in a security module."""

    attribute: UInt
    context: InBuffer
    size: UInt
    flags: UInt


@request(man="lsm_list_modules(2)", forms={"lsm_list_modules(ids, size, flags)": {}})
class LsmListModules(Request):
    """List the security modules."""

    ids: Address
    size: Address
    flags: UInt
