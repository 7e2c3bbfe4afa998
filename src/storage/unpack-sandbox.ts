/**
 * The cage of the unpacking child: dies with its parent, holds no descriptor but its three streams, and sees
 * nothing of the host's files but the target, which becomes its root.
 *
 * The mount namespace and the root belong to the calling thread; the threads that inflate keep the
 * host's, but run no code that opens files.
 */
import * as k from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { call, cstring, tryCall } from "../sys/libc.ts";
import { linux } from "../sys/linux.ts";

const PR_SET_PDEATHSIG = 1;
const F_GETFD = 1;
/** Above the run-time's own descriptors. */
const MAX_SCAN = 1024;
const ALL = 0xffffffff;

/** Descriptors that come from the run-time's event loop are anonymous inodes: they have no file type. */
function closeInherited(): void {
  for (let fd = 3; fd < MAX_SCAN; fd++) {
    if (tryCall("fcntl", fd, F_GETFD) < 0) continue;
    if ((linux.stat(fd, "", 0).mode & k.S_IFMT) !== 0) linux.close(fd);
  }
  tryCall("close_range", MAX_SCAN, ALL, 0);
}

/** Makes the target the only mount of a new mount namespace. Errors: EPERM without privileges. */
function enterMountNamespace(target: string): void {
  linux.unshare(k.CLONE_NEWNS);
  linux.mount("none", "/", "", k.MS_REC | k.MS_PRIVATE);
  linux.mount(target, target, "", k.MS_BIND | k.MS_REC);
  call("chdir", target, cstring(target));
  const dot = cstring(".");
  call("pivot_root", target, dot, dot);
  linux.umount(".", k.MNT_DETACH);
  call("chdir", "/", cstring("/"));
}

/** Everything the child will need must be loaded and open by now. Errors: not-found for the target, permission-denied. */
export function enterSandbox(target: string): void {
  call("prctl", "parent death signal", PR_SET_PDEATHSIG, k.SIGKILL);
  closeInherited();
  linux.forbidNewPrivileges();
  linux.umask(0);
  // The host's root as the target (cp to "/") cannot be left behind.
  if (target === "/") return;
  try {
    enterMountNamespace(target);
  } catch (error) {
    // Without CAP_SYS_ADMIN, or where a sandbox around us forbids mounts: the root alone has to do.
    if (!hasCode(error, "EPERM", "EINVAL", "ENOSYS")) throw error;
    linux.chroot(target);
  }
}
