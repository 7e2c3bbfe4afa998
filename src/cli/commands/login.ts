import { fail } from "../../core/error.ts";
import type { LoginRequest } from "../../engine/login.ts";
import { defineCommand, type Invocation } from "../command.ts";
import { loginFlags, type LoginValues, loginRequest } from "../login-flags.ts";
import { isTerminal } from "../terminal.ts";

const flags = {
  ...loginFlags,
  "get-login": { type: "bool", help: "Print who is logged in, and ask nobody" },
  password: {
    type: "string",
    short: "p",
    value: "PASSWORD",
    help: "Password or token; everybody on the host can read it here: prefer --password-stdin",
  },
  "password-stdin": { type: "bool", help: "Read the password from standard input" },
  username: { type: "string", short: "u", value: "NAME", help: "User name" },
  verbose: { type: "bool", short: "v", help: "Say where the login is kept" },
} as const;

type Values = LoginValues & {
  password?: string | undefined;
  "password-stdin": boolean;
  username?: string | undefined;
};

/** Errors: invalid-argument for flags that do not go together. */
async function givenPassword({
  flags: given,
  changed,
  out,
  args,
}: Invocation<typeof flags>): Promise<string | undefined> {
  if (given["password-stdin"]) {
    if (changed.has("password")) throw conflict("--password and --password-stdin cannot be used together");
    if (given.username === undefined) throw conflict("--password-stdin needs --username");
    const { readSecret } = await import("../prompt.ts");
    const secret = await readSecret();
    if (secret === "") throw conflict(`no password for "${args[0] ?? "the registry"}" on standard input`);
    return secret;
  }
  if (changed.has("password"))
    out.error(
      "WARNING! A password on the command line can be read by others on this host. Use --password-stdin.",
    );
  return given.password;
}

function conflict(message: string): Error {
  return fail("invalid-argument", message, { reason: "arguments" });
}

/** What is missing is asked for. Errors: invalid-argument without a terminal, canceled. */
async function askFor(
  { ctx, out }: Pick<Invocation, "ctx" | "out">,
  known: { username: string | undefined; password: string | undefined; before: string | undefined },
): Promise<{ username: string; password: string }> {
  if (!isTerminal(0)) {
    throw fail(
      "invalid-argument",
      "cannot ask for a user name and password: standard input is not a terminal",
      {
        reason: "no-terminal",
        hint: "give --username, and the password with --password-stdin",
      },
    );
  }
  const { Prompt } = await import("../prompt.ts");
  out.flush();
  await using prompt = new Prompt(ctx);
  const { before } = known;
  const question = before === undefined ? "Username: " : `Username (${before}): `;
  const username = known.username ?? ((await prompt.ask(question)).trim() || before || "");
  if (username === "") throw conflict("a user name is needed");
  const password = known.password ?? (await prompt.askSecret("Password: "));
  if (password === "") throw conflict("a password is needed");
  return { username, password };
}

/** True if what is kept already still holds. */
async function existingHolds(
  invocation: Pick<Invocation, "ctx" | "out">,
  request: LoginRequest,
): Promise<boolean> {
  const { login } = await import("../../engine/login.ts");
  const { out } = invocation;
  const { key } = request.target;
  out.line(`Authenticating with existing credentials for ${key}`);
  try {
    await login(invocation.ctx, request);
    out.line(`Existing credentials are valid. Already logged in to ${key}`);
    return true;
  } catch (error) {
    if ((error as { reason?: unknown }).reason !== "bad-credentials" || !isTerminal(0)) throw error;
    out.line("Existing credentials are invalid, please enter valid username and password");
    return false;
  }
}

async function userAndPassword(
  invocation: Invocation<typeof flags>,
  before: string | undefined,
): Promise<{ username: string; password: string }> {
  const password = await givenPassword(invocation);
  const username = invocation.flags.username || undefined;
  if (username !== undefined && password !== undefined && password !== "") return { username, password };
  return askFor(invocation, { username, password: password || undefined, before });
}

export const loginCommand = defineCommand({
  usage: "[options] [REGISTRY]",
  description:
    "Logs into a registry: asks it whether user name and password are good, and keeps them for later pulls and pushes. A namespace may stand behind the host. " +
    "Where the registry gives an identity token, that is kept in place of the password.",
  examples: ["login quay.io", "login -u me --password-stdin registry.example.com:5000/team <password.txt"],
  flags,
  args: { min: 0, max: 1 },
  completes: { first: "none" },
  async run(invocation) {
    const { ctx, args, out, personality } = invocation;
    const values: Values & { "get-login": boolean; verbose: boolean } = invocation.flags;
    const { loggedInAs, login, loginTarget } = await import("../../engine/login.ts");
    const { registry, docker } = loginRequest(invocation, values);
    const target = await loginTarget(args[0], { registry, docker });
    const request = { target, registry, docker };
    const before = await loggedInAs(ctx, request);
    if (values["get-login"]) {
      if (before === undefined)
        throw fail("not-found", `not logged into ${target.key}`, { reason: "not-logged-in" });
      return out.line(before);
    }
    const asked = values.username === undefined && values.password === undefined && !values["password-stdin"];
    if (asked && before !== undefined && (await existingHolds(invocation, request))) return;
    const credentials = await userAndPassword(invocation, before);
    const kept = await login(ctx, { ...request, registry: { ...registry, credentials } });
    if (values.verbose) out.line(`Used:  ${kept}`);
    out.line(personality.docker ? "Login Succeeded" : "Login Succeeded!");
  },
});
