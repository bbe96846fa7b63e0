import type { FigureName } from './goals.js';
import type { Sample } from './results.js';

/** What a measurement says while it runs. */
export interface Recorder {
  readonly record: (name: FigureName, ours: number, other: number | null) => void;
  readonly note: (text: string) => void;
}

export interface Samples extends Pick<Recorder, 'record'> {
  readonly taken: ReadonlyMap<FigureName, readonly Sample[]>;
}

export function createSamples(): Samples {
  const taken = new Map<FigureName, Sample[]>();
  return {
    taken,
    record: (name, ours, other) => void taken.set(name, [...(taken.get(name) ?? []), { ours, other }]),
  };
}
