/** Advisory whole-file locks. They belong to the open file, so a duplicate shares them and a second open does not. */
import { EAGAIN } from "./const.ts";
import { SysError } from "./errno.ts";
import { call, tryCall } from "./libc.ts";
import type { Fd } from "./sys.ts";

const OPERATION = { shared: 1, exclusive: 2, unlock: 8 } as const;
const LOCK_NB = 4;

export function flock(fd: Fd, mode: "shared" | "exclusive" | "unlock", wait: boolean): boolean {
  if (wait) {
    call("flock", `fd ${fd}`, fd, OPERATION[mode]);
    return true;
  }
  const result = tryCall("flock", fd, OPERATION[mode] | LOCK_NB);
  if (result < 0 && result !== -EAGAIN) throw new SysError("flock", `fd ${fd}`, -result);
  return result === 0;
}
