/**
 * The binary is multi-call: linked as `docker`, `podman`, `skopeo`, `crictl` or `buildah` it keeps that
 * command's habits of spacing, order, wording and exit codes. As `berth` it speaks like podman.
 */
export type Name = "berth" | "docker" | "podman" | "crictl" | "buildah" | "skopeo";

export interface Personality {
  name: Name;
  /** Follows docker where docker and podman differ. */
  docker: boolean;
  /** Spaces between the columns of a table. */
  padding: number;
  /** Between a size and its unit: "13.6 MB" in podman, "13.6MB" in docker. */
  sizeGap: string;
  /** False: the name is ours, but the commands behind it are not built yet. */
  finished: boolean;
}

const FINISHED: Record<Name, boolean> = {
  berth: true,
  docker: true,
  podman: true,
  crictl: false,
  buildah: false,
  skopeo: true,
};

/** By the name the program was called with; anything unknown is berth itself. */
export function personalityOf(argv0: string): Personality {
  const base = argv0.slice(argv0.lastIndexOf("/") + 1);
  const name: Name = Object.hasOwn(FINISHED, base) ? (base as Name) : "berth";
  const docker = name === "docker";
  return { name, docker, padding: docker ? 3 : 2, sizeGap: docker ? "" : " ", finished: FINISHED[name] };
}
