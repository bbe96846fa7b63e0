/** How the agent is, as three answers: alive (the loop turns), ready (all parts are well), callable (our own ping came back). */
import type { Clock } from '../lib/clock.js';
import type { HealthAnswer, Metrics } from './types.js';

export interface HealthSummary {
  readonly alive: HealthAnswer;
  readonly ready: HealthAnswer;
  readonly callable: HealthAnswer;
  readonly parts: Readonly<Record<string, HealthAnswer>>;
}

export interface Health<Part extends string = string> {
  /** Says how a part is. `since` stays while the answer stays; the reason is always the newest. */
  report(part: Part | 'callable', ok: boolean, reason: string): void;
  summary(): HealthSummary;
}

/** `parts`: what must be well for the agent to be ready, e.g. node, broker, conductor, placement. Each is not well until it says so. */
export function createHealth<const Part extends string>(options: { clock: Pick<Clock, 'now'>; parts: readonly Part[]; metrics?: Metrics }): Health<Part> {
  const { clock, metrics } = options;
  const startedAt = clock.now().toISOString();
  const unknown: HealthAnswer = { ok: false, since: startedAt, reason: 'not looked at yet' };
  const answers = new Map<string, HealthAnswer>([...options.parts, 'callable'].map((part) => [part, unknown]));
  let ready: HealthAnswer = { ok: false, since: startedAt, reason: '' };

  const judge = (): void => {
    const bad = options.parts.filter((part) => answers.get(part)?.ok !== true);
    const ok = bad.length === 0;
    const reason = ok ? 'all parts are well' : bad.map((part) => `${part}: ${answers.get(part)?.reason ?? ''}`).join('; ');
    ready = { ok, since: ok === ready.ok ? ready.since : clock.now().toISOString(), reason };
  };
  judge();
  return {
    report(part, ok, reason) {
      const before = answers.get(part);
      answers.set(part, { ok, since: before !== undefined && before.ok === ok ? before.since : clock.now().toISOString(), reason });
      metrics?.gauge('agent_health_ok', ok ? 1 : 0, { part });
      judge();
    },
    summary: () => ({
      alive: { ok: true, since: startedAt, reason: 'the event loop turns' },
      ready,
      callable: answers.get('callable') ?? unknown,
      parts: Object.fromEntries(options.parts.map((part) => [part, answers.get(part) ?? unknown])),
    }),
  };
}
