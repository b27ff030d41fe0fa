"""Ways: natively, in each kind of view with each engine, and with the other tools."""

from __future__ import annotations

import functools
import shlex
import subprocess
import sys
from dataclasses import dataclass

from benchmarks.places import Place

DIORAMA = (sys.executable, "-P", "-m", "diorama", "run")


@dataclass(frozen=True, slots=True)
class Way:
    """How a command is run: what stands before it, and under which names it then finds base/ and /usr."""

    key: str
    title: str
    meaning: str
    place: Place
    prefix: tuple[str, ...] = ()
    base: str = ""
    usr: str = "/usr"
    writable: bool = True
    micro: str = "micro"
    native: str = "native"
    operations_only: bool = False

    @property
    def modules(self) -> str:
        """Where Python finds its modules, if that is another name than usual; else empty."""
        inside = self.place.modules.startswith("/usr/") and self.usr not in ("", "/usr")
        return self.usr + self.place.modules.removeprefix("/usr") if inside else ""

    def command(self, *words: str) -> tuple[str, ...]:
        """The whole command."""
        return (*self.place.wrapper, *self.prefix, *words)

    def program(self, name: str) -> str:
        """One of our own programs, by the name that it has everywhere."""
        return f"{self.place.directory}/{name}"


@functools.cache
def engines() -> dict[str, tuple[str, ...]]:
    """The engines that `diorama run` offers, and the options that choose them."""
    shown = subprocess.run([*DIORAMA, "--help"], capture_output=True, text=True, check=True).stdout
    if "--engine" not in shown:
        return {"default": ()}
    return {name: ("--engine", name) for name in ("guardians", "notify")}


def ours(host: Place, engine: str, options: tuple[str, ...]) -> list[Way]:
    """The views with one engine."""
    here = host.directory
    run = (*DIORAMA, *options)
    unused = ("--mount", f"{here}/other={here}/elsewhere", "--mount", f"memory:={here}/archive")
    bind = ("--mount", f"{here}/base={here}/view", "--mount", f"/usr={here}/usr")
    archive = ("--mount", f"zip:{here}/base.zip={here}/view")
    base, view, usr = f"{here}/base", f"{here}/view", f"{here}/usr"
    fill = ("sh", "-c", f'cp {base}/f {view} && exec "$@"', "sh")
    return [
        Way(engine, f"{engine}: no mounts", "a view of nothing", host, (*run, "--"), base),
        Way(
            f"{engine}-unused",
            f"{engine}: mounts, unused",
            "a view with a bind mount and a memory mount, and a workload that uses neither",
            host,
            (*run, *unused, "--"),
            base,
        ),
        Way(
            f"{engine}-bind",
            f"{engine}: bind",
            "the workload works in a bind mount (of /usr for those that need it)",
            host,
            (*run, *bind, "--"),
            view,
            usr,
        ),
        Way(
            f"{engine}-archive",
            f"{engine}: archive",
            "the workload reads from a zip archive",
            host,
            (*run, *archive, "--"),
            view,
            "",
            writable=False,
        ),
        Way(
            f"{engine}-beside",
            f"{engine}: beside a bind",
            "single operations on a path of the host, in the view with the bind mounts",
            host,
            (*run, *bind, "--"),
            base,
            operations_only=True,
        ),
        Way(
            f"{engine}-memory",
            f"{engine}: memory",
            "single operations on a file in a memory mount",
            host,
            (*run, "--mount", f"memory:={view}", "--", *fill),
            view,
            operations_only=True,
        ),
    ]


def tracers(place: Place) -> list[Way]:
    """strace, with and without a filter, and fakeroot, which is none but is used for the same."""
    quiet = ("strace", "-f", "-qqq", "-o", "/dev/null")
    base = f"{place.directory}/base"
    return [
        Way(
            "strace",
            "strace, filter",
            "strace -f --seccomp-bpf -e trace=%file: prints the calls with paths",
            place,
            (*quiet, "--seccomp-bpf", "-e", "trace=%file"),
            base,
        ),
        Way("strace-all", "strace", "strace -f: prints every call", place, quiet, base),
        Way(
            "fakeroot",
            "fakeroot",
            "fakeroot: a preloaded library (so the micro program is linked dynamically here)",
            place,
            ("fakeroot", "--"),
            base,
            micro="linked",
        ),
    ]


def containers(place: Place) -> list[Way]:
    """PRoot and bubblewrap, with a bind that is not used and with one that is."""
    here = place.directory
    base, view, usr = f"{here}/base", f"{here}/view", f"{here}/usr"
    bwrap = ("bwrap", "--dev-bind", "/", "/")
    return [
        Way(
            "proot",
            "PRoot",
            "proot -b: a bind mount that the workload does not use",
            place,
            ("proot", "-b", f"{here}/other:{here}/elsewhere"),
            base,
        ),
        Way(
            "proot-bind",
            "PRoot: bind",
            "proot -b: the workload works in the bind mount",
            place,
            ("proot", "-b", f"{base}:{view}", "-b", f"/usr:{usr}"),
            view,
            usr,
        ),
        Way(
            "bwrap-bind",
            "bwrap: bind",
            "bwrap --bind: the same by the kernel's namespaces",
            place,
            (*bwrap, "--bind", base, view, "--bind", "/usr", usr),
            view,
            usr,
        ),
    ]


def vuos(place: Place) -> list[Way]:
    """VUOS, without a module and with vufs binds."""
    here = place.directory
    base, view, usr = f"{here}/base", f"{here}/view", f"{here}/usr"
    mounts = " && ".join(
        shlex.join(("vumount", "-t", "vufs", source, target))
        for source, target in ((base, view), ("/usr", usr))
    )
    bind = ("umvu", "sh", "-c", f'vu_insmod vufs && {mounts} && exec "$@"', "sh")
    return [
        Way("umvu", "VUOS", "umvu: no module", place, ("umvu",), base),
        Way(
            "umvu-bind",
            "VUOS: bind",
            "umvu with vufs: the workload works in the mount",
            place,
            bind,
            view,
            usr,
        ),
    ]


def others(place: Place, *, mark: str = "") -> list[Way]:
    """The tools that are installed there; `mark` stands before their keys."""
    found = [way for way in (*tracers(place), *containers(place), *vuos(place)) if place.has(way.prefix[0])]
    return [marked(way, mark) for way in found] if mark else found


def marked(way: Way, mark: str) -> Way:
    """The same in the peers' root, compared with native runs there."""
    return Way(
        f"{mark}{way.key}",
        f"{way.title}, peers' root",
        way.meaning,
        way.place,
        way.prefix,
        way.base,
        way.usr,
        way.writable,
        way.micro,
        f"{mark}native",
    )


def native(place: Place, mark: str = "") -> Way:
    """A plain run, which the others of that place are compared with."""
    title = "native, peers' root" if mark else "native"
    key = f"{mark}native"
    return Way(key, title, "a plain run", place, (), f"{place.directory}/base", native=key)


def all_ways(host: Place, root: Place | None) -> list[Way]:
    """Every way, natives first; what this machine has is not measured again in the peers' root."""
    found = [native(host)]
    for engine, options in engines().items():
        found += ours(host, engine, options)
    found += others(host)
    if root:
        here = {way.key for way in found}
        found += [native(root, "peers:")]
        found += [way for way in others(root, mark="peers:") if way.key.removeprefix("peers:") not in here]
    return found
