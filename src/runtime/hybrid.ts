/**
 * crun on hosts with hybrid cgroups (v1 controllers, and a v2 hierarchy at /sys/fs/cgroup/unified that has some too): it
 * refuses `create` there, and nothing else. In a mount namespace of its own without that one mount it takes its v1 path.
 * The namespace must be between the monitor and crun: the monitor's exit command has to see the host's mounts.
 *
 * perl does it in one process (0.6 ms over crun alone) and is part of every Debian; unshare, sh and umount
 * are three more (1.4 ms). Both read a file instead of executing it, because /run is often mounted noexec.
 */
import { fail } from "../core/error.ts";
import { cgroupMode, readText } from "../sys/cgroup.ts";
import { CLONE_NEWNS, MNT_DETACH, MS_REC, MS_SLAVE } from "../sys/const.ts";
import { which } from "../sys/spawn.ts";
import { keepScript } from "./script.ts";

/** Where the v2 hierarchy is in the way, or undefined on hosts that are not hybrid in this sense. */
export function unifiedInTheWay(): string | undefined {
  const host = cgroupMode();
  if (host.mode !== "hybrid" || host.v2 === undefined) return undefined;
  const { mountPoint } = host.v2;
  return (readText(`${mountPoint}/cgroup.controllers`) ?? "") === "" ? undefined : mountPoint;
}

function perlScript(unified: string): string {
  const [unshare, mount, umount2] = process.arch === "arm64" ? [97, 40, 39] : [272, 165, 166];
  // Slave, so that a later unmount on the host reaches this namespace and does not leave the root file system busy.
  return `use strict;
my ($none, $top, $unified) = ("none", "/", ${perlQuoted(unified)});
syscall(${unshare}, ${CLONE_NEWNS}) == 0 or die "unshare: $!\\n";
syscall(${mount}, $none, $top, 0, ${MS_REC | MS_SLAVE}, 0) == 0 or die "mount: $!\\n";
syscall(${umount2}, $unified, ${MNT_DETACH}) == 0 or die "umount $unified: $!\\n";
exec { $ARGV[0] } @ARGV or die "$ARGV[0]: $!\\n";
`;
}

function perlQuoted(text: string): string {
  return `'${text.replaceAll(/[\\']/g, "\\$&")}'`;
}

function shellScript(unified: string): string {
  return `umount '${unified.replaceAll("'", "'\\''")}' && exec "$@"\n`;
}

/**
 * argv to put before the runtime's own; [] on a host that needs none. `directory` gets the script. Errors: unavailable
 * when neither perl nor unshare is there.
 */
export function hybridArgv(directory: string): string[] {
  const unified = unifiedInTheWay();
  if (unified === undefined) return [];
  const perl = which("perl");
  if (perl !== undefined) return [perl, keepScript(`${directory}/hybrid.pl`, perlScript(unified))];
  const [unshare, sh] = [which("unshare"), which("sh")];
  if (unshare !== undefined && sh !== undefined && which("umount") !== undefined) {
    const script = keepScript(`${directory}/hybrid.sh`, shellScript(unified));
    return [unshare, "-m", "--propagation", "slave", sh, script];
  }
  throw fail("unavailable", "crun cannot create containers on this host's hybrid cgroups", {
    reason: "hybrid-cgroup",
    hint: "install perl-base or util-linux, or use --runtime runc",
  });
}
