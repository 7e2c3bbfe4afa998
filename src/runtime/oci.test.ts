import { createCtx } from "../core/ctx.ts";
import { runtimeSuite } from "../../test/suite/runtime.ts";
import { which } from "../sys/spawn.ts";
import { discoverRuntime, findMonitor } from "./discover.ts";
import { createRuntime } from "./oci.ts";

const missing = ["conmon", "busybox"].filter((program) => which(program) === undefined);

for (const name of ["crun", "runc", "runsc"]) {
  const lacking = [...missing, ...(which(name) === undefined ? [name] : [])];
  if (process.getuid?.() !== 0) console.warn(`skip: runtime suite of ${name}: needs root`);
  else if (lacking.length > 0) console.warn(`skip: runtime suite of ${name}: needs ${lacking.join(", ")}`);
  else {
    runtimeSuite(
      name,
      (runDir) =>
        createRuntime({ runDir, conmon: findMonitor() }, discoverRuntime(createCtx(), { name, runDir })),
      { failsAt: name === "runsc" ? "start" : "create", hostProcesses: name !== "runsc" },
    );
  }
}
