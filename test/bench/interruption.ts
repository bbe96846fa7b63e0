/**
 * What ends a run early: SIGINT, SIGTERM, SIGHUP, or the end of npm that started us (who kills npm may not reach us). It ends the measuring,
 * not the clearing up: hosts that stay behind as "up" would be given servers.
 */
export interface Interruption {
  /** Fires when the run must end; its reason says why. */
  readonly signal: AbortSignal;
  /** Dies as if what happened had never been caught. Does nothing if nothing happened. */
  die(): void;
  /** Stops watching. */
  close(): void;
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const parentCheckMs = 1_000;
/** npm and timeout(1) pass on what the terminal or the kernel has given us already: the same wish comes up to three times. */
const sameWishMs = 2_000;

/** `parent`: the process that this one must not outlive; null for none. */
export function watchInterruption(parent: number | null): Interruption {
  const controller = new AbortController();
  let cause: NodeJS.Signals = 'SIGTERM';
  let caughtMs = 0;
  const interrupt = (signal: NodeJS.Signals, reason: string): void => {
    cause = signal;
    caughtMs = performance.now();
    controller.abort(new Error(reason));
  };
  const die = (): void => {
    for (const each of signals) process.removeAllListeners(each);
    process.kill(process.pid, cause);
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    if (!controller.signal.aborted) interrupt(signal, `ended by ${signal}`);
    else if (performance.now() - caughtMs > sameWishMs) die(); // who asks again does not want to wait for the clearing up
  };
  for (const each of signals) process.on(each, onSignal);
  const timer = setInterval(() => {
    if (parent !== null && process.ppid !== parent && !controller.signal.aborted) interrupt('SIGTERM', 'npm, which started this, has ended');
  }, parentCheckMs).unref();
  return {
    signal: controller.signal,
    die: () => {
      if (controller.signal.aborted) die();
    },
    close: () => {
      clearInterval(timer);
      for (const each of signals) process.removeListener(each, onSignal);
    },
  };
}
