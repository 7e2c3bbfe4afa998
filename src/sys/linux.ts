/** The real {@link Sys}: everything of this folder that talks to the kernel, joined. */
import * as files from "./files.ts";
import * as inotify from "./inotify.ts";
import * as lock from "./lock.ts";
import * as mount from "./mount.ts";
import * as namespace from "./namespace.ts";
import { mountOverlay } from "./overlay.ts";
import * as process from "./process.ts";
import * as socket from "./socket.ts";
import { stat } from "./stat.ts";
import type { Sys } from "./sys.ts";
import * as tty from "./tty.ts";
import * as xattr from "./xattr.ts";

export const linux: Sys = {
  ...files,
  stat,
  ...xattr,
  ...mount,
  mountOverlay,
  ...namespace,
  ...process,
  ...inotify,
  ...lock,
  ...socket,
  ...tty,
};
