/** From samples to medians, ratios and verdicts; and how a person reads them. Pure. */
import { figures, type Figure, type FigureName, type Goal } from './goals.js';

export interface Sample {
  readonly ours: number;
  /** Null where there is nothing to compare with. */
  readonly other: number | null;
}

export interface Result {
  /** Null: it was asked for and not measured. */
  readonly ours: number | null;
  readonly peer: number | null;
  readonly ratio: number | null;
  /** `<= 0.5`, `>= 3`, or null for a figure that is only shown. */
  readonly goal: string | null;
  /** Null without a goal. What was not measured, or has nothing beside it, has not met its goal. */
  readonly met: boolean | null;
}

export function median(values: readonly number[]): number {
  if (values.length === 0) throw new Error('the median of nothing');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export const goalText = (goal: Goal): string => ('atMost' in goal ? `<= ${goal.atMost}` : `>= ${goal.atLeast}`);
const isMet = (goal: Goal, ratio: number): boolean => ('atMost' in goal ? ratio <= goal.atMost : ratio >= goal.atLeast);

/** To what a person can use: four digits. */
const rounded = (value: number): number => Number(value.toPrecision(4));

export function resultOf({ goal }: Pick<Figure, 'goal'>, samples: readonly Sample[]): Result {
  if (samples.length === 0) return { ours: null, peer: null, ratio: null, goal: goal === null ? null : goalText(goal), met: goal === null ? null : false };
  const ours = median(samples.map((sample) => sample.ours));
  const others = samples.flatMap(({ other }) => (other === null ? [] : [other]));
  const other = others.length === 0 ? null : median(others);
  // Nothing beside nothing is as much as before; something beside nothing has no ratio.
  const ratio = other === null ? null : other === 0 ? (ours === 0 ? 1 : Infinity) : ours / other;
  return {
    ours: rounded(ours), peer: other === null ? null : rounded(other), ratio: ratio === null || ratio === Infinity ? null : rounded(ratio),
    goal: goal === null ? null : goalText(goal), met: goal === null ? null : ratio !== null && isMet(goal, ratio),
  };
}

export type Results = Partial<Record<FigureName, Result>>;

/** Of every name in `wanted`, measured or not. */
export const resultsOf = (samples: ReadonlyMap<FigureName, readonly Sample[]>, wanted: readonly FigureName[]): Results =>
  Object.fromEntries(wanted.map((name) => [name, resultOf(figures[name], samples.get(name) ?? [])]));

/** Names that have no value, though they were asked for. */
export const notMeasured = (results: Results): string[] => Object.entries(results).filter(([, { ours }]) => ours === null).map(([name]) => name);

/** In the order of goals.ts. A mark says whether a goal is met. */
export function tableOf(results: Results): string {
  const names = (Object.keys(figures) as FigureName[]).filter((name) => results[name] !== undefined);
  const rows = names.map((name) => {
    const { ours, peer, ratio, goal, met } = results[name]!;
    const { title, unit, beside } = figures[name];
    return [title, unit, number(ours), number(peer), beside, number(ratio), goal ?? '', ours === null ? 'NOT MEASURED' : met === null ? '' : met ? 'met' : 'MISSED'];
  });
  const all = [['', 'unit', 'ours', 'beside it', 'which is', 'ratio', 'goal', ''], ...rows];
  const widths = all[0]!.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  const isText = (column: number): boolean => [0, 1, 4, 6, 7].includes(column);
  const line = (row: string[]): string => row.map((cell, column) => (isText(column) ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join('  ').trimEnd();
  return [line(all[0]!), '─'.repeat(line(all[0]!).length + 8), ...rows.map(line)].join('\n');
}

function number(value: number | null): string {
  if (value === null) return '–';
  return Math.abs(value) >= 999.5 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(3)));
}
