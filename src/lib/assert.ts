/** Broken assumptions are bugs: they throw this, the operation stops, the journal brings it back. */
export class Bug extends Error {
  override readonly name = 'Bug';
}

/** Throws Bug unless `condition` holds. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Bug(message);
}

/** The end of an exhaustive switch. */
export function unreachable(value: never): never {
  throw new Bug(`unreachable: ${JSON.stringify(value)}`);
}
