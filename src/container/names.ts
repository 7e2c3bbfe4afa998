/** Random names for containers nobody named: an adjective and a surname from the sea, "steady_cook". */
import { fail } from "../core/error.ts";

const ADJECTIVES = (
  "able agile alert ample amber ardent astute balmy blithe bold brave breezy bright brisk calm candid " +
  "cheerful chirpy civil clear clever cosy crisp curious daring deft direct dreamy eager early earnest " +
  "easy elated epic fair fearless festive fluent fond frank fresh gallant gentle gifted glad golden " +
  "graceful grand happy hardy hearty helpful honest hopeful humble jolly jovial keen kind lively loyal " +
  "lucid lucky mellow merry mighty modest neat nimble noble patient placid plucky polite proud prudent " +
  "quick quiet radiant ready relaxed robust rosy serene sharp shiny silent sincere sleek smart snappy " +
  "sober solid sound spry steady stoic sunny swift tender tidy tranquil trim trusty upbeat valiant vivid " +
  "warm wise witty zealous zesty"
).split(" ");

const SURNAMES = (
  "amundsen anson barents beaufort bering bligh bougainville bowditch brendan cabot cabral cartier " +
  "chichester cook cousteau dampier davis diaz drake earle elcano erikson fitzroy flinders franklin " +
  "frobisher gama gilbert grace harrison hawkins heyerdahl hopper hudson hydra johnson jones kidd knox " +
  "laperouse lightoller lovelace magellan maury mclean mercator moitessier nansen nelson noor ostrom " +
  "parry peary pinzon plimsoll polo pytheas raleigh ross sacagawea scoresby selkirk shackleton slocum " +
  "sparks sverdrup tabarly tasman torres turing vancouver vespucci weddell wilkes worsley zheng"
).split(" ");

export function randomName(isFree: (name: string) => boolean): string {
  for (;;) {
    const name = `${pick(ADJECTIVES)}_${pick(SURNAMES)}`;
    if (isFree(name)) return name;
    const numbered = `${name}${10 + randomBelow(99_990)}`;
    if (isFree(numbered)) return numbered;
  }
}

function pick(words: string[]): string {
  return words[randomBelow(words.length)] as string;
}

/** Not for secrets: the bias of the modulo does not matter for names. */
function randomBelow(limit: number): number {
  return (crypto.getRandomValues(new Uint32Array(1))[0] as number) % limit;
}

/**
 * A name as docker and podman allow it: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, a leading slash dropped.
 * Errors: invalid-argument.
 */
export function checkName(text: string): string {
  const name = text.startsWith("/") ? text.slice(1) : text;
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/.test(name)) {
    throw fail("invalid-argument", `invalid container name "${text.slice(0, 80)}"`, {
      reason: "invalid-name",
      hint: "a name has letters, digits, '_', '.' and '-', begins with a letter or digit, and is at most 255 long",
    });
  }
  return name;
}
