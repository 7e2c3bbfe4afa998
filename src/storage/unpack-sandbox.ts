/**
 * The cage of the unpacking child: dies with its parent, holds no descriptor but its three streams, and sees
 * nothing of the host's files. The directory to unpack into comes as a descriptor, of a mount of its own that nothing leads out of.
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

/** Leaves nothing to see: the root is an empty file system that cannot be written to. Errors: EPERM without privileges. */
function enterMountNamespace(): void {
  linux.unshare(k.CLONE_NEWNS);
  linux.mount("none", "/", "", k.MS_REC | k.MS_PRIVATE);
  // Any directory that is sure to be there.
  linux.mount("none", "/proc", "tmpfs", k.MS_RDONLY | k.MS_NOSUID | k.MS_NODEV | k.MS_NOEXEC);
  call("chdir", "/proc", cstring("/proc"));
  const dot = cstring(".");
  call("pivot_root", "/", dot, dot);
  linux.umount(".", k.MNT_DETACH);
  call("chdir", "/", cstring("/"));
}

/** Everything the child will need must be loaded and open by now. Errors: permission-denied. */
export function enterSandbox(): void {
  call("prctl", "parent death signal", PR_SET_PDEATHSIG, k.SIGKILL);
  closeInherited();
  linux.forbidNewPrivileges();
  linux.umask(0);
  try {
    enterMountNamespace();
  } catch (error) {
    // Without CAP_SYS_ADMIN, or where a sandbox around us forbids mounts: a directory where nothing lies and nothing can be made has to do.
    if (!hasCode(error, "EPERM", "EINVAL", "ENOSYS")) throw error;
    linux.chroot("/proc/self/fdinfo");
  }
}
