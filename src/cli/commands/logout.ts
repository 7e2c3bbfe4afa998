import { fail } from "../../core/error.ts";
import { defineCommand } from "../command.ts";
import { keepFlags, loginRequest } from "../login-flags.ts";

export const logoutCommand = defineCommand({
  usage: "[options] [REGISTRY]",
  description: "Forgets the login of a registry, or of all of them.",
  examples: ["logout quay.io", "logout --all"],
  flags: { ...keepFlags, all: { type: "bool", short: "a", help: "All logins of the file" } },
  args: { min: 0, max: 1 },
  completes: { first: "none" },
  async run(invocation) {
    const { ctx, args, flags, out, personality } = invocation;
    const { loginTarget, logout, logoutAll } = await import("../../engine/login.ts");
    const request = loginRequest(invocation, flags);
    if (flags.all) {
      if (args.length > 0)
        throw fail("invalid-argument", "--all and a registry cannot be used together", {
          reason: "arguments",
        });
      await logoutAll(ctx, request);
      return out.line("Removed login credentials for all registries");
    }
    const target = await loginTarget(args[0], request);
    await logout(ctx, { ...request, target });
    out.line(
      personality.docker
        ? `Removing login credentials for ${target.key}`
        : `Removed login credentials for ${target.key}`,
    );
  },
});
