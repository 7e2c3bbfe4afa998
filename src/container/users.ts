/**
 * Who a container runs as, from the image's own /etc/passwd and /etc/group, never from the host's.
 *
 * A request has six forms: "", "user", "uid", "user:group", "uid:gid" and mixtures of them. A number is an id and is never
 * looked up as a name; what merely looks like a number ("00", "0x0", "-1", "1e3") is refused, because one reader's
 * number is the next reader's name. With a group in the request the user's supplementary groups are not used.
 */
import { fail } from "../core/error.ts";
import { checkLine, quote } from "./spec-text.ts";

export interface ResolvedUser {
  uid: number;
  gid: number;
  /** Ascending, with `gid` itself: a process without it could shed a group that files deny. */
  additionalGids: number[];
  /** Absolute path; "/" when the image does not say. */
  home: string;
  /** Name in the image's passwd file, or "". */
  name: string;
}

export interface UserFiles {
  passwd?: Uint8Array | undefined;
  group?: Uint8Array | undefined;
}

interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
  home: string;
}

interface GroupEntry {
  name: string;
  gid: number;
  members: string[];
}

/** The largest id; one more is (uid_t)-1, which the kernel reads as "leave unchanged". */
export const MAX_ID = 4294967294;

/** A user file larger than this is not read at all. */
export const MAX_USER_FILE = 10 * 1024 * 1024;

const NUMBER = /^(0|[1-9][0-9]{0,9})$/;

/** Errors: invalid-argument (malformed, out of range), not-found (a name that the image does not have). */
export function resolveUser(request: string, files: UserFiles, groupAdd: readonly string[]): ResolvedUser {
  checkLine("user", request);
  const colon = request.indexOf(":");
  const userPart = colon === -1 ? request : request.slice(0, colon);
  const groupPart = colon === -1 ? "" : request.slice(colon + 1);
  if (groupPart.includes(":")) throw fail("invalid-argument", `invalid user ${quote(request)}`);
  if (colon !== -1 && groupPart === "")
    throw fail("invalid-argument", `user ${quote(request)} has an empty group`);

  const entry = findUser(userPart === "" ? "0" : userPart, files.passwd);
  const groups = lazyGroups(files.group);
  const gid = groupPart === "" ? entry.gid : findGroup(groupPart, groups);
  const supplementary = groupPart === "" ? memberships(entry.name, groups) : [];
  const added = groupAdd.map((group) => findGroup(checkLine("group", group), groups));
  const additionalGids = [...new Set([gid, ...supplementary, ...added])].toSorted((a, b) => a - b);
  return { uid: entry.uid, gid, additionalGids, home: homeOf(entry.home), name: decode(entry.name) };
}

/** The first name the image's passwd file gives this id, or the id itself. */
export function userName(files: UserFiles, uid: number): string {
  for (const entry of passwdEntries(files.passwd)) if (entry.uid === uid) return decode(entry.name);
  return String(uid);
}

/** As {@link userName}, for groups. */
export function groupName(files: UserFiles, gid: number): string {
  for (const entry of groupEntries(files.group)) if (entry.gid === gid) return decode(entry.name);
  return String(gid);
}

/** An id if `text` is one, undefined if it is a name. Errors: invalid-argument for what is neither. */
function parseId(what: "user" | "group", text: string): number | undefined {
  if (NUMBER.test(text)) {
    const id = Number(text);
    if (id <= MAX_ID) return id;
    throw fail("invalid-argument", `${what} id ${quote(text)} is out of range`, {
      hint: `use 0 to ${MAX_ID}`,
    });
  }
  const numberLike =
    /^[0-9]+$/.test(text) || /^[+-]/.test(text) || (/^[0-9.]/.test(text) && !Number.isNaN(Number(text)));
  if (numberLike || text === "" || /[\s/,]/.test(text) || text.length > 256) {
    throw fail("invalid-argument", `invalid ${what} ${quote(text)}`, {
      hint: "use a name, or a decimal id without leading zeros",
    });
  }
  return undefined;
}

function findUser(text: string, passwd: Uint8Array | undefined): PasswdEntry {
  const id = parseId("user", text);
  const name = encode(text);
  for (const entry of passwdEntries(passwd)) {
    if (id === undefined ? entry.name === name : entry.uid === id) return entry;
  }
  if (id !== undefined) return { name: "", uid: id, gid: 0, home: "/" };
  throw fail("not-found", `no user ${quote(text)} in the image's /etc/passwd`, {
    reason: "no-such-user",
    hint: "use a numeric user id, or an image that has this user",
  });
}

function findGroup(text: string, groups: () => GroupEntry[]): number {
  const id = parseId("group", text);
  if (id !== undefined) return id;
  const name = encode(text);
  const found = groups().find((entry) => entry.name === name);
  if (found !== undefined) return found.gid;
  throw fail("not-found", `no group ${quote(text)} in the image's /etc/group`, {
    reason: "no-such-group",
    hint: "use a numeric group id, or an image that has this group",
  });
}

function memberships(user: string, groups: () => GroupEntry[]): number[] {
  if (user === "") return [];
  return groups()
    .filter((entry) => entry.members.includes(user))
    .map((entry) => entry.gid);
}

function homeOf(home: string): string {
  const text = decode(home);
  // oxlint-disable-next-line no-control-regex -- a home with control bytes would write lines of its own
  return text.startsWith("/") && !/[\u0000-\u001f\u007f]/.test(text) ? text : "/";
}

/** Lines that are not of the form name:password:uid:gid:gecos:home:shell are skipped, as libc does. */
function* passwdEntries(bytes: Uint8Array | undefined): Generator<PasswdEntry> {
  for (const line of linesOf(bytes, "/etc/passwd")) {
    const [name = "", , uid, gid, , home = ""] = line.split(":");
    const ids = [lineId(uid), lineId(gid)] as const;
    if (name === "" || ids[0] === undefined || ids[1] === undefined) continue;
    yield { name, uid: ids[0], gid: ids[1], home };
  }
}

function lazyGroups(bytes: Uint8Array | undefined): () => GroupEntry[] {
  let parsed: GroupEntry[] | undefined;
  return () => (parsed ??= [...groupEntries(bytes)]);
}

function* groupEntries(bytes: Uint8Array | undefined): Generator<GroupEntry> {
  for (const line of linesOf(bytes, "/etc/group")) {
    const [name = "", , gidText, members = ""] = line.split(":");
    const gid = lineId(gidText);
    if (name === "" || gid === undefined) continue;
    yield { name, gid, members: members === "" ? [] : members.split(",") };
  }
}

function lineId(text: string | undefined): number | undefined {
  if (text === undefined || !NUMBER.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}

function* linesOf(bytes: Uint8Array | undefined, path: string): Generator<string> {
  if (bytes === undefined) return;
  if (bytes.byteLength > MAX_USER_FILE)
    throw fail("invalid-argument", `the image's ${path} is larger than ${MAX_USER_FILE} bytes`);
  // Latin-1 keeps every byte distinct, so that two different broken names never compare equal.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  let start = 0;
  while (start < text.length) {
    const end = text.indexOf("\n", start);
    const stop = end === -1 ? text.length : end;
    const line = text.slice(start, stop);
    start = stop + 1;
    if (line !== "" && line[0] !== "#") yield line;
  }
}

function encode(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

function decode(text: string): string {
  return Buffer.from(text, "latin1").toString("utf8");
}
