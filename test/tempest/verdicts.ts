/** What a run of Tempest printed, as verdicts by test. Pure: lines in, verdicts out. */

export type Outcome = 'passed' | 'failed' | 'skipped';

export interface Verdict {
  readonly test: string;
  readonly outcome: Outcome;
  readonly seconds: number;
  /** Why it was skipped; or what it failed with, as Tempest shows it. */
  readonly text: string;
}

/** `{0} tempest.api….test_x [1.234s] ... ok`; a class that cannot be set up stands for its tests: `{0} setUpClass (tempest.api….Class) [0.0s] ... FAILED`. */
const line = /^\{\d+\} (?:(?:setUpClass|tearDownClass) \((?<group>\S+)\)|(?<test>tempest\.\S+?)(?:\[\S*\])?) (?:\[(?<seconds>[\d.]+)s\] )?\.\.\. (?<word>ok|FAILED|SKIPPED)(?:: (?<reason>.*))?$/;

const outcomes: Readonly<Record<string, Outcome>> = { ok: 'passed', FAILED: 'failed', SKIPPED: 'skipped' };
const keptLines = 120;

/** Test id without the attributes that Tempest puts behind it. */
export const nameOf = (id: string): string => id.replace(/\[.*$/, '').trim();

/** Reads one line after the other; `verdicts` at the end are for exactly the tests that were asked for. */
export function createReader(tests: readonly string[]) {
  const found = new Map<string, Verdict>();
  const groups = new Map<string, Verdict>();
  let detail: { key: string; into: Map<string, Verdict> } | null = null;

  /** Gives the verdict if the line is one, for showing progress. */
  function read(text: string): Verdict | null {
    const match = line.exec(text.trimEnd());
    if (match === null) {
      addDetail(text);
      return null;
    }
    const { group, test, seconds, word, reason } = match.groups as Record<string, string | undefined>;
    const key = group ?? test!;
    const into = group === undefined ? found : groups;
    const verdict: Verdict = { test: key, outcome: outcomes[word!]!, seconds: Number(seconds ?? 0), text: reason ?? '' };
    into.set(key, verdict);
    detail = verdict.outcome === 'failed' ? { key, into } : null;
    return verdict;
  }

  function addDetail(text: string): void {
    if (detail === null) return;
    const verdict = detail.into.get(detail.key)!;
    if (verdict.text.split('\n').length < keptLines) detail.into.set(detail.key, { ...verdict, text: `${verdict.text}${text}\n` });
  }

  function verdicts(): Verdict[] {
    return tests.map((test) => {
      const own = found.get(test);
      const group = groups.get(test.slice(0, test.lastIndexOf('.')));
      if (own?.outcome === 'failed' || (own !== undefined && group?.outcome !== 'failed')) return own;
      if (group !== undefined) return { ...group, test };
      return { test, outcome: 'failed', seconds: 0, text: 'Tempest did not run it' };
    });
  }

  return { read, verdicts };
}

export interface Summary {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Most frequent first. */
  readonly reasons: readonly { readonly reason: string; readonly count: number }[];
}

export function summarize(verdicts: readonly Verdict[]): Summary {
  const count = (outcome: Outcome): number => verdicts.filter((verdict) => verdict.outcome === outcome).length;
  const reasons = new Map<string, number>();
  for (const { outcome, text } of verdicts) {
    if (outcome !== 'skipped') continue;
    // "TestX skipped as …": the class does not make it another reason.
    const reason = text.replace(/^\w+ skipped (?:as|because) /, '').trim() || 'no reason given';
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  return {
    passed: count('passed'), failed: count('failed'), skipped: count('skipped'),
    reasons: [...reasons].map(([reason, times]) => ({ reason, count: times })).sort((a, b) => b.count - a.count || a.reason.localeCompare(b.reason)),
  };
}
