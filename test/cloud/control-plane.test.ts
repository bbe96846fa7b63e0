import { expect, test } from 'vitest';
import { createControlPlane } from './control-plane/index.js';

test('bringing up what is up changes nothing', async () => {
  const plane = createControlPlane();
  await plane.up();
  const before = plane.status();
  await plane.up();
  expect(plane.status()).toEqual(before);
});

test('a service that died is started again, and only that one', async () => {
  const plane = createControlPlane();
  await plane.up();
  const before = new Map(plane.status().map(({ name, pid }) => [name, pid]));
  await plane.daemons.kill('placement');
  expect(plane.status().find(({ name }) => name === 'placement')!.pid).toBeNull();
  await plane.up();
  for (const { name, pid } of plane.status()) {
    expect(pid, name).not.toBeNull();
    if (name !== 'placement') expect(pid, name).toBe(before.get(name));
  }
});
