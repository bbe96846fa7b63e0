import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createAdmissionDesk, type Admission } from '../../../src/rpc/admission.js';
import { parseRequest } from '../../../src/rpc/envelope.js';
import type { IncomingMessage, RpcMethod } from '../../../src/rpc/types.js';

const message = (id: string): IncomingMessage => parseRequest({ method: 'm', _unique_id: id }).message;
const accepting = (accept: (message: IncomingMessage) => Promise<Admission>): RpcMethod => ({ rpc: 'm', accept, handle: async () => null });

test('a second copy while the first is being journalled waits for its fate', async () => {
  const fates: { resolve(value: Admission): void; reject(error: Error): void }[] = [];
  const method = accepting(() => new Promise((resolve, reject) => { fates.push({ resolve, reject }); }));
  const desk = createAdmissionDesk({ remembered: 10 });
  const first = desk.admit(message('a'), method);
  const second = desk.admit(message('a'), method);
  const third = desk.admit(message('a'), method);
  await Promise.resolve();
  expect(fates).toHaveLength(1);
  fates[0]!.reject(new Error('disk full'));
  await expect(first).rejects.toThrow('disk full');
  while (fates.length < 2) await Promise.resolve();
  fates[1]!.resolve('new');
  expect([await second, await third]).toEqual(['new', 'duplicate']);
  expect(fates).toHaveLength(2);
});

test('the journal\'s "duplicate" is passed on and remembered', async () => {
  let asked = 0;
  const method = accepting(async () => {
    asked += 1;
    return 'duplicate';
  });
  const desk = createAdmissionDesk({ remembered: 10 });
  expect(await desk.admit(message('a'), method)).toBe('duplicate');
  expect(await desk.admit(message('a'), method)).toBe('duplicate');
  expect(asked).toBe(1);
});

test('whatever the order of copies and failures, each message is admitted at most once, and the memory stays bounded', async () => {
  const arrivals = fc.array(fc.record({ id: fc.constantFrom('a', 'b', 'c'), fails: fc.boolean() }), { maxLength: 30 });
  await fc.assert(fc.asyncProperty(arrivals, async (list) => {
    const desk = createAdmissionDesk({ remembered: 3 });
    const outcomes = await Promise.allSettled(list.map(({ id, fails }) => desk.admit(message(id), accepting(async () => {
      if (fails) throw new Error('no');
      return 'new';
    }))));
    for (const id of ['a', 'b', 'c']) {
      const news = outcomes.filter((outcome, index) => list[index]!.id === id && outcome.status === 'fulfilled' && outcome.value === 'new');
      expect(news.length).toBe(list.some((arrival) => arrival.id === id && !arrival.fails) ? 1 : 0);
    }
  }));
});

test('an id that was pushed out of the memory is admitted again: the journal knows the rest', async () => {
  const desk = createAdmissionDesk({ remembered: 2 });
  for (const id of ['a', 'b', 'c']) expect(await desk.admit(message(id), undefined)).toBe('new');
  expect(await desk.admit(message('c'), undefined)).toBe('duplicate');
  expect(await desk.admit(message('a'), undefined)).toBe('new');
});
