/** Entry of the unpacker for the tests: what `__unpack` of the program does. */
import { runUnpackChild } from "./unpack-child.ts";

await runUnpackChild();
