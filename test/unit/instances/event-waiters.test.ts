import { expect, test } from 'vitest';
import { createEventWaiters } from '../../../src/instances/index.js';
import { parseInstanceUuid } from '../../../src/lib/ids.js';

const uuid = parseInstanceUuid('11111111-1111-4111-8111-111111111111');
const other = parseInstanceUuid('22222222-2222-4222-8222-222222222222');
const name = 'network-vif-plugged';

test('an event that comes between registering and waiting is not lost', async () => {
  const waiters = createEventWaiters();
  const waiter = waiters.expect(uuid, name, 'port-1');
  expect(waiters.deliver(uuid, name, 'port-1', 'completed')).toBe(true);
  expect(await waiter.arrived).toBe('completed');
});

test('an event of another port, name or instance wakes nobody', async () => {
  const waiters = createEventWaiters();
  const waiter = waiters.expect(uuid, name, 'port-1');
  expect(waiters.deliver(uuid, name, 'port-2', 'completed')).toBe(false);
  expect(waiters.deliver(other, name, 'port-1', 'completed')).toBe(false);
  expect(waiters.deliver(uuid, 'network-changed', 'port-1', 'completed')).toBe(false);
  waiter.cancel();
  expect(await waiter.arrived).toBe('cancelled');
});

test('a failed event reaches the waiter as failure', async () => {
  const waiters = createEventWaiters();
  const waiter = waiters.expect(uuid, name, 'port-1');
  waiters.deliver(uuid, name, 'port-1', 'failed');
  expect(await waiter.arrived).toBe('failed');
});

test('clearing an instance cancels its waiters only', async () => {
  const waiters = createEventWaiters();
  const mine = waiters.expect(uuid, name, 'port-1');
  const theirs = waiters.expect(other, name, 'port-1');
  waiters.clear(uuid);
  expect(await mine.arrived).toBe('cancelled');
  expect(waiters.deliver(other, name, 'port-1', 'completed')).toBe(true);
  expect(await theirs.arrived).toBe('completed');
});

test('at shutdown everybody waiting, now or later, sees it', async () => {
  const waiters = createEventWaiters();
  const before = waiters.expect(uuid, name, 'port-1');
  waiters.close();
  expect(await before.arrived).toBe('stopping');
  expect(await waiters.expect(uuid, name, 'port-2').arrived).toBe('stopping');
});
