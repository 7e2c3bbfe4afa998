/** Names of an archive's members, which mean each other and never a file of the host. */
import { fail } from "../core/error.ts";
import { excerpt } from "../image/digest.ts";

/** Normalised: without "." and empty parts; ".." only within the archive. Errors: invalid-argument. */
export function memberName(name: string): string {
  const parts: string[] = [];
  if (name.startsWith("/")) throw hostileMember(name, "is an absolute path");
  for (const part of name.split("/")) {
    if (part === "..") {
      if (parts.pop() === undefined) throw hostileMember(name, "leads out of the archive");
    } else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/** `problem` goes on from the member's name: "is an absolute path". */
export function hostileMember(name: string, problem: string): Error {
  return fail("invalid-argument", `member "${excerpt(name)}" of the archive ${problem}`, {
    reason: "archive-member",
  });
}
