/**
 * Duties that act on servers one by one: look for rows, act on each whose gate is idle, log what was not done. What was seen when the rows were read
 * may be long ago when a server's turn comes: `act` reads the row again before it changes anything.
 */
import { parseInstanceUuid, type InstanceUuid } from '../lib/ids.js';
import { isInstanceGone, isTaskStateConflict, type ComputeDeps } from '../compute/index.js';
import type { GateKind } from '../instances/index.js';
import type { Duty } from './duty.js';

export interface ServerDuty<Row> extends Pick<Duty, 'name' | 'everySeconds'> {
  /** As what the work takes the gate. */
  readonly kind: GateKind;
  /** The log line about work that failed; a constant. */
  readonly failure: string;
  find(): Promise<readonly Row[]>;
  uuidOf(row: Row): string | null;
  /** Whether it is time, by the row as it was found. */
  isDue(row: Row): boolean;
  /** Inside the gate; `signal` fires when the work should stop. */
  act(uuid: InstanceUuid, row: Row, signal: AbortSignal): Promise<void>;
}

/**
 * One failure does not hold up the others. That the server is gone, or that somebody else has its task by now, is none; a server at work is left for the
 * next round.
 */
export const perServer = <Row>(deps: ComputeDeps, duty: ServerDuty<Row>): Duty => ({
  name: duty.name,
  everySeconds: duty.everySeconds,
  atStart: false,
  async run(stop) {
    for (const row of await duty.find()) {
      if (stop.aborted) return;
      if (!duty.isDue(row)) continue;
      const uuid = parseInstanceUuid(duty.uuidOf(row));
      await deps.gate.runIfIdle(uuid, duty.kind, async (signal) => {
        try {
          await duty.act(uuid, row, signal);
        } catch (err) {
          if (!isInstanceGone(err) && !isTaskStateConflict(err)) deps.log.warn({ err, instance: uuid }, duty.failure);
        }
      });
    }
  },
});

/** Whether `since`, a time of Nova's, is longer ago than `seconds`; without a time nothing is. */
export const isOlderThan = ({ clock }: Pick<ComputeDeps, 'clock'>, since: string | null, seconds: number): boolean =>
  since !== null && clock.now().getTime() - Date.parse(since) > seconds * 1000;
