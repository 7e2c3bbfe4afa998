import { expect, test } from "bun:test";
import { applyChanges } from "./changes.ts";
import type { ContainerConfig } from "./image.ts";

test.each([
  ["CMD /bin/sh -l", { Cmd: ["/bin/sh", "-c", "/bin/sh -l"] }],
  ['CMD ["/bin/sh", "-l"]', { Cmd: ["/bin/sh", "-l"] }],
  ["CMD=/bin/bash", { Cmd: ["/bin/sh", "-c", "/bin/bash"] }],
  ['ENTRYPOINT=["/init"]', { Entrypoint: ["/init"] }],
  ['env A=1 B=\'two words\' C="x\\"y" D=a\\ b', { Env: ["A=1", "B=two words", 'C=x"y', "D=a b"] }],
  ["ENV OLD form of it", { Env: ["OLD=form of it"] }],
  ["ENV A=", { Env: ["A="] }],
  ['LABEL "a b"=c d=', { Labels: { "a b": "c", d: "" } }],
  [
    "EXPOSE 80 53/UDP 8000-8001",
    { ExposedPorts: { "80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {} } },
  ],
  ["VOLUME /a /b", { Volumes: { "/a": {}, "/b": {} } }],
  ['VOLUME ["/a b"]', { Volumes: { "/a b": {} } }],
  ["USER 1000:1000", { User: "1000:1000" }],
  ["WORKDIR srv/../x", { WorkingDir: "/x" }],
  ["STOPSIGNAL SIGQUIT", { StopSignal: "SIGQUIT" }],
  ["ONBUILD RUN x", { OnBuild: ["RUN x"] }],
  ['SHELL ["/bin/bash","-c"]', { Shell: ["/bin/bash", "-c"] }],
  ["HEALTHCHECK NONE", { Healthcheck: { Test: ["NONE"] } }],
  [
    "HEALTHCHECK --interval=30s --retries=3 CMD curl -f localhost",
    { Healthcheck: { Test: ["CMD-SHELL", "curl -f localhost"], Interval: 30e9, Retries: 3 } },
  ],
  ['HEALTHCHECK CMD ["x"]', { Healthcheck: { Test: ["CMD", "x"] } }],
] as [string, ContainerConfig][])("%s", (change, expected) => {
  expect(applyChanges({}, [change])).toEqual(expected);
});

test("later changes build on earlier ones and the given config stays", () => {
  const base: ContainerConfig = { Env: ["PATH=/bin", "A=0"], WorkingDir: "/w" };
  const changed = applyChanges(base, ["ENV A=1", "WORKDIR x", "WORKDIR y"]);
  expect(changed).toEqual({ Env: ["PATH=/bin", "A=1"], WorkingDir: "/w/x/y" });
  expect(base).toEqual({ Env: ["PATH=/bin", "A=0"], WorkingDir: "/w" });
});

test.each([
  "",
  "CMD",
  "RUN x",
  "constructor x",
  "ENV A",
  "ENV =x",
  "LABEL 'a=b",
  "EXPOSE 0",
  "EXPOSE 70000",
  "EXPOSE 9-8",
  "USER a b",
  "ONBUILD FROM x",
  "SHELL /bin/sh",
  "HEALTHCHECK curl",
  "HEALTHCHECK --no=1 CMD x",
])("%p is refused by name", (change) => {
  expect(() => applyChanges({}, [change])).toThrow(`invalid change "${change}"`);
});
