/**
 * Stops the agent at one exact point, the way `kill -9` does: nothing after that point happens, no promise of the dead process settles.
 * An effect is anything that outlives the process: a row, a port, a disk, a guest, a line of the journal.
 */
export type CrashWhen = 'before' | 'middle' | 'after';

export interface CrashPoint {
  /** 1 = the first effect. */
  readonly effect: number;
  readonly when: CrashWhen;
}

/** The names of the effects, in order, and the point where they end. */
export interface CrashRecorder {
  readonly effects: readonly string[];
  /** Resolves when the agent died. */
  readonly died: Promise<void>;
  readonly isDead: boolean;
  /** Runs an effect; `half` inside it is the middle. */
  effect<T>(name: string, run: (half: () => Promise<void>) => Promise<T>): Promise<T>;
}

const forever = <T>(): Promise<T> => new Promise<T>(() => undefined);

export function createCrash(point: CrashPoint | null): CrashRecorder {
  const effects: string[] = [];
  let isDead = false;
  let die: () => void = () => undefined;
  const died = new Promise<void>((resolve) => { die = resolve; });
  const kill = <T>(): Promise<T> => {
    isDead = true;
    die();
    return forever<T>();
  };
  return {
    effects,
    died,
    get isDead() {
      return isDead;
    },
    async effect(name, run) {
      if (isDead) return forever();
      effects.push(name);
      const isHere = point !== null && effects.length === point.effect;
      if (isHere && point.when === 'before') return kill();
      const result = await run(async () => {
        if (isDead || (isHere && point.when === 'middle')) return kill();
      });
      if (isDead) return forever();
      // An effect without a middle dies after it: the answer is lost either way.
      if (isHere) return kill();
      return result;
    },
  };
}

/** The object with each of `names` turned into an effect. */
export function withEffects<T extends object>(target: T, prefix: string, crash: CrashRecorder, names: readonly (keyof T & string)[]): T {
  const wrapped = new Set<string>(names);
  return new Proxy(target, {
    get(object, key, receiver) {
      const value: unknown = Reflect.get(object, key, receiver);
      if (typeof key !== 'string' || typeof value !== 'function') return value;
      const call = value as (...args: unknown[]) => Promise<unknown>;
      if (wrapped.has(key)) return (...args: unknown[]) => crash.effect(`${prefix}.${key}`, (half) => call.apply(object, [...args, half]));
      return (...args: unknown[]) => (crash.isDead ? forever() : call.apply(object, args));
    },
  });
}
