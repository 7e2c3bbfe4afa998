/** What a promise was rejected with; a promise that is fulfilled fails the test. */
import { EngineError } from "../../src/core/error.ts";

export async function failure(promise: Promise<unknown>): Promise<EngineError> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
  throw new Error(`expected a failure, got ${Bun.inspect(value).slice(0, 200)}`);
}
