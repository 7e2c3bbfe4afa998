/** A private directory for one test; what was mounted in it is unmounted and all of it removed when the scope ends. */
import { mkdtempSync } from "node:fs";
import { AT_FDCWD, MNT_DETACH, UMOUNT_NOFOLLOW } from "../../src/sys/const.ts";
import { linux } from "../../src/sys/linux.ts";
import { mountsBelow } from "../../src/sys/mountinfo.ts";
import { removeTree } from "../../src/sys/remove-tree.ts";

export interface TempDir {
  readonly path: string;
  [Symbol.dispose](): void;
}

/** `part` names the test in the directory's name: /tmp/berth-PART-xxxxxx. */
export function tempDir(part: string): TempDir {
  const path = mkdtempSync(`/tmp/berth-${part}-`);
  return {
    path,
    [Symbol.dispose]: () => {
      for (const mount of mountsBelow(path)) {
        linux.umount(mount.mountPoint.toString(), MNT_DETACH | UMOUNT_NOFOLLOW);
      }
      removeTree(linux, AT_FDCWD, path);
    },
  };
}
