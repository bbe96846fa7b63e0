import fc from 'fast-check';
import { expect, test } from 'vitest';
import { interpretVerdict, parseStatus, parseVerdict, renderVerdict, type StoredVerdict } from '../../../../src/virt/bhyve/verdict.js';

const ended = (exit: number | null, more: Partial<StoredVerdict> = {}) =>
  interpretVerdict({ exit, atSeconds: 1_795_410_225, isStopping: false, isSuspending: false, reason: '', ...more });

test.each([
  [0, 'rebooted'], [1, 'powered-off'], [2, 'halted'], [3, 'crashed'], [4, 'crashed'], [5, 'suspended'], [71, 'crashed'], [134, 'crashed'], [null, 'crashed'],
] as const)('bhyve ending with %s means %s', (exit, kind) => {
  expect(ended(exit)).toMatchObject({ kind, at: '2026-11-23T05:03:45.000Z' });
});

test('a crash names the signal, a set-up error the status', () => {
  expect(ended(137)).toMatchObject({ signal: 'SIGKILL', exitCode: null });
  expect(ended(134)).toMatchObject({ signal: 'SIGABRT' });
  expect(ended(4)).toMatchObject({ signal: null, exitCode: 4 });
});

test('a guest that we ended is powered off, however bhyve went', () => {
  for (const exit of [0, 1, 4, 137, 143, null]) expect(ended(exit, { isStopping: true }).kind).toBe('powered-off');
});

test('a suspended guest of 13 and 14, which ends with 0 like a reboot, is told by the marker', () => {
  expect(ended(0, { isSuspending: true }).kind).toBe('suspended');
});

test('a reboot storm is a crash with its reason', () => {
  expect(ended(0, { reason: 'the guest rebooted ten times' })).toMatchObject({ kind: 'crashed', reason: 'the guest rebooted ten times' });
});

test('what we write in a supervisor’s place reads back the same', () => {
  const verdicts = fc.record({
    exit: fc.option(fc.integer({ min: 0, max: 255 })), atSeconds: fc.integer({ min: 0, max: 4e9 }), isStopping: fc.boolean(), isSuspending: fc.boolean(),
    reason: fc.string().map((text) => text.replaceAll(/[\n\r]/g, '')),
  });
  fc.assert(fc.property(verdicts, (verdict) => {
    expect(parseVerdict(renderVerdict(verdict))).toEqual(verdict);
  }));
});

test('a damaged status or verdict is no status and no verdict', () => {
  const status = 'phase=running\nsupervisor=12\nboot=boottime-1\nrun=1\npid=13\nsince=1795410225\n';
  expect(parseStatus(status)).toEqual({ phase: 'running', supervisorPid: 12, boot: 'boottime-1', run: 1, pid: 13, sinceSeconds: 1_795_410_225 });
  expect(parseStatus(status.replace('pid=13', 'pid='))).toBeUndefined();
  expect(parseStatus(status.replace('running', 'dancing'))).toBeUndefined();
  expect(parseVerdict('')).toBeUndefined();
  expect(parseVerdict('exit=1\n')).toBeUndefined();
});
