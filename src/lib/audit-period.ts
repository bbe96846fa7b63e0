/** Periods that usage is told of (nova.utils.last_completed_audit_period, the same from Zed on). All times are UTC. */

/** One of Nova's words with an optional offset: `hour@15` begins at a quarter past, `day@18` at 18:00, `month@15` on the 15th, `year@3` in March. */
export const auditPeriodPattern = /^(hour|day|month|year)(@\d+)?$/;

export interface AuditPeriod { readonly begin: Date; readonly end: Date }

/** The newest period that is over at `now`; the end of one is the beginning of the next. `unit` has the form above. */
export function lastCompletedPeriod(unit: string, now: Date): AuditPeriod {
  const [word, offsetText = '0'] = unit.split('@');
  const offset = Number(offsetText);
  const [year, month, day, hour] = [now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate(), now.getUTCHours()];
  const startedBy = (at: (back: number) => number): AuditPeriod => {
    const late = at(0) >= now.getTime() ? 1 : 0;
    return { begin: new Date(at(late + 1)), end: new Date(at(late)) };
  };
  switch (word) {
    case 'year': return startedBy((back) => Date.UTC(year - back, (offset || 1) - 1, 1));
    case 'month': return startedBy((back) => Date.UTC(year, month - back, offset || 1));
    case 'day': return startedBy((back) => Date.UTC(year, month, day - back, offset));
    default: return startedBy((back) => Date.UTC(year, month, day, hour - back, offset));
  }
}
