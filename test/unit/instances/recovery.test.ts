import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decidePowerSync, decideRecovery, type RecoveryFacts } from '../../../src/instances/index.js';
import { powerStates, taskStates, vmStates } from '../../../src/objects/index.js';

const { running, shutdown, paused, crashed, noState, suspended } = powerStates;
const facts = (over: Partial<RecoveryFacts>): RecoveryFacts => ({ host: 'us', vmState: 'active', taskState: null, recordedPower: running, guestPower: running, ...over });
const decide = (over: Partial<RecoveryFacts>, resume = false): ReturnType<typeof decideRecovery> => decideRecovery(facts(over), 'us', resume);

describe('recovery at start, row by row', () => {
  test.each([
    ['another host', { host: 'them' }, 'skip'],
    ['no host', { host: null }, 'skip'],
    ['soft-deleted', { vmState: 'soft-delete' }, 'skip'],
    ['error without task', { vmState: 'error' }, 'skip'],
    ['error while building', { vmState: 'error', taskState: 'spawning' }, 'skip'],
    ['error while deleting', { vmState: 'error', taskState: 'deleting' }, 'delete-again'],
    ['deleted row that is still there', { vmState: 'deleted' }, 'finish-delete'],
    ['building', { vmState: 'building', taskState: 'spawning', guestPower: running }, 'set-error'],
    ['building without task', { vmState: 'building' }, 'set-error'],
    ['networking', { vmState: 'building', taskState: 'networking' }, 'set-error'],
    ['active but rebuilding', { taskState: 'rebuild_spawning' }, 'set-error'],
    ['deleting', { taskState: 'deleting' }, 'delete-again'],
    ['powering off', { taskState: 'powering-off' }, 'stop'],
    ['powering off, guest down already', { taskState: 'powering-off', guestPower: shutdown }, 'stop'],
    ['powering on', { vmState: 'stopped', taskState: 'powering-on', guestPower: shutdown }, 'start'],
    ['pausing', { taskState: 'pausing' }, 'clear-task'],
    ['pausing, and it is', { taskState: 'pausing', guestPower: paused }, 'pause'],
    ['unpausing, and it is not yet', { vmState: 'paused', taskState: 'unpausing', guestPower: paused }, 'unpause'],
    ['suspending, and it runs', { taskState: 'suspending' }, 'suspend'],
    ['suspending, and it is saved', { taskState: 'suspending', guestPower: suspended }, 'suspend'],
    ['suspending, and it is off', { taskState: 'suspending', guestPower: crashed }, 'clear-task'],
    ['resuming, and it is not yet', { vmState: 'suspended', taskState: 'resuming', guestPower: suspended }, 'resume'],
    ['resuming, and it runs', { vmState: 'suspended', taskState: 'resuming' }, 'resume'],
    ['suspended', { vmState: 'suspended', guestPower: suspended, recordedPower: suspended }, 'settle'],
    ['soft-deleted and deleting', { vmState: 'soft-delete', taskState: 'deleting' }, 'delete-again'],
    ['rebooting, guest up', { taskState: 'reboot_started' }, 'clear-task'],
    ['resize prep', { taskState: 'resize_prep' }, 'settle'],
    ['nothing going on', {}, 'settle'],
  ] as const)('%s', (_name, over, kind) => {
    expect(decide(over).kind).toBe(kind);
  });

  test('a soft reboot whose guest is down becomes a hard one', () => {
    expect(decide({ taskState: 'reboot_started', guestPower: shutdown })).toEqual({ kind: 'reboot', type: 'HARD' });
    expect(decide({ taskState: 'reboot_pending' })).toEqual({ kind: 'reboot', type: 'SOFT' });
    expect(decide({ taskState: 'reboot_pending_hard' })).toEqual({ kind: 'reboot', type: 'HARD' });
  });

  test('a pending hard reboot is not repeated on a state that Nova does not reboot', () => {
    expect(decide({ vmState: 'rescued', taskState: 'reboot_pending_hard' }).kind).not.toBe('reboot');
  });

  test('a guest that ran before a host reboot is started only if the operator wants it', () => {
    expect(decide({ guestPower: shutdown }, true)).toEqual({ kind: 'settle', clearTask: false, resumeGuest: true });
    expect(decide({ guestPower: shutdown }, false)).toEqual({ kind: 'settle', clearTask: false, resumeGuest: false });
    expect(decide({ guestPower: shutdown, recordedPower: shutdown }, true)).toMatchObject({ resumeGuest: false });
    expect(decide({ vmState: 'suspended', guestPower: suspended, recordedPower: running }, true), 'a saved guest is not started over its save').toMatchObject({ resumeGuest: false });
  });

  test('an instance of another host is never touched, whatever its states are', () => {
    fc.assert(fc.property(
      fc.constantFrom(...Object.values(vmStates)), fc.option(fc.constantFrom(...Object.values(taskStates))), fc.constantFrom(...Object.values(powerStates)), fc.boolean(),
      (vmState, taskState, guestPower, resume) => decideRecovery({ host: 'them', vmState, taskState, recordedPower: running, guestPower }, 'us', resume).kind === 'skip',
    ));
  });
});

describe('power sync', () => {
  test.each([
    ['active', shutdown, 'stop'], ['active', crashed, 'stop'], ['active', suspended, 'stop'], ['active', paused, 'note'], ['active', noState, 'note'], ['active', running, 'none'],
    ['stopped', running, 'force-stop'], ['stopped', paused, 'force-stop'], ['stopped', shutdown, 'none'],
    ['paused', shutdown, 'force-stop'], ['paused', paused, 'none'],
    ['building', shutdown, 'none'], ['rescued', shutdown, 'none'], ['resized', running, 'none'], ['suspended', running, 'none'], ['error', shutdown, 'none'],
    ['deleted', running, 'note'], ['soft-delete', running, 'note'],
  ] as const)('%s with guest power %i leads to %s', (vmState, power, kind) => {
    expect(decidePowerSync(vmState, power).kind).toBe(kind);
  });
});
