/**
 * How each kind of error looks at the three edges: gRPC (google.rpc.Code), HTTP (Docker Engine
 * API) and the exit code of the command line. A kind without a row does not compile.
 */
export type Kind =
  | "invalid-argument"
  | "not-found"
  | "already-exists"
  | "conflict"
  | "in-use"
  | "not-modified"
  | "unauthenticated"
  | "permission-denied"
  | "resource-exhausted"
  | "unavailable"
  | "deadline-exceeded"
  | "canceled"
  | "aborted"
  | "unimplemented"
  | "data-loss"
  | "internal"
  | "command-not-executable"
  | "command-not-found";

export interface Row {
  grpc: number;
  http: number;
  exit: number;
}

export const errorTable = {
  "invalid-argument": { grpc: 3, http: 400, exit: 125 },
  "not-found": { grpc: 5, http: 404, exit: 125 },
  "already-exists": { grpc: 6, http: 409, exit: 125 },
  conflict: { grpc: 9, http: 409, exit: 125 },
  "in-use": { grpc: 9, http: 409, exit: 125 },
  "not-modified": { grpc: 9, http: 304, exit: 0 },
  unauthenticated: { grpc: 16, http: 401, exit: 125 },
  "permission-denied": { grpc: 7, http: 403, exit: 125 },
  "resource-exhausted": { grpc: 8, http: 429, exit: 125 },
  unavailable: { grpc: 14, http: 503, exit: 125 },
  "deadline-exceeded": { grpc: 4, http: 504, exit: 125 },
  canceled: { grpc: 1, http: 499, exit: 130 },
  aborted: { grpc: 10, http: 409, exit: 125 },
  unimplemented: { grpc: 12, http: 501, exit: 125 },
  "data-loss": { grpc: 15, http: 500, exit: 125 },
  internal: { grpc: 13, http: 500, exit: 125 },
  "command-not-executable": { grpc: 2, http: 400, exit: 126 },
  "command-not-found": { grpc: 2, http: 400, exit: 127 },
} as const satisfies Record<Kind, Row>;
