/** Devices of a container: what --device says, and the nodes and cgroup rules that follow from it. */
import { fail } from "../core/error.ts";
import type { HostDevice } from "./spec-input.ts";
import type { OciDevice, OciDeviceRule } from "./spec-oci.ts";
import { absolutePath, quote } from "./spec-text.ts";

export interface DeviceRequest {
  /** Host path; a directory means every device below it. */
  source: string;
  target: string;
  /** Subset of "rwm". */
  access: string;
}

/** "/dev/x", "/dev/x:/dev/y", "/dev/x:rw" or "/dev/x:/dev/y:rwm". Errors: invalid-argument. */
export function parseDevice(text: string): DeviceRequest {
  const parts = text.split(":");
  const [source = "", second, third] = parts;
  if (parts.length > 3 || source === "") throw deviceError(text);
  const secondIsAccess = second !== undefined && !second.startsWith("/");
  if (secondIsAccess && third !== undefined) throw deviceError(text);
  const access = (secondIsAccess ? second : third) ?? "rwm";
  if (!/^[rwm]{1,3}$/.test(access) || new Set(access).size !== access.length) throw deviceError(text);
  const target = second === undefined || secondIsAccess ? source : second;
  return { source: absolutePath("device", source), target: absolutePath("device", target), access };
}

function deviceError(text: string): Error {
  return fail("invalid-argument", `invalid device ${quote(text)}`, {
    hint: "use HOST_PATH[:CONTAINER_PATH][:ACCESS], ACCESS of r, w and m",
  });
}

/** Device nodes that the runtime creates; null, zero, tty and the like are made by every runtime itself. */
export function deviceNodes(devices: readonly HostDevice[]): OciDevice[] {
  return devices.map((device) => ({
    path: absolutePath("device", device.path),
    type: device.type,
    major: device.major,
    minor: device.minor,
    fileMode: device.mode & 0o7777,
    uid: device.uid,
    gid: device.gid,
  }));
}

/** Everything is denied but what is listed (runtimes add the default devices), or allowed at once when privileged. */
export function deviceRules(devices: readonly HostDevice[], privileged: boolean): OciDeviceRule[] {
  if (privileged) return [{ allow: true, access: "rwm" }];
  return [
    { allow: false, access: "rwm" },
    ...devices.map((device): OciDeviceRule => {
      return {
        allow: true,
        type: device.type,
        major: device.major,
        minor: device.minor,
        access: device.access,
      };
    }),
  ];
}
