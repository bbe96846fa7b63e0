import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { writeTogether } from '../../../src/rpc/write-together.js';

/** Remembers what each system call would have taken. */
function socket(): { readonly calls: string[][]; readonly stream: Writable } {
  const calls: string[][] = [];
  return {
    calls,
    stream: new Writable({
      decodeStrings: false,
      write: (chunk, _encoding, done) => { calls.push([String(chunk)]); done(); },
      writev: (chunks, done) => { calls.push(chunks.map(({ chunk }) => String(chunk))); done(); },
    }),
  };
}

test('what one turn writes goes out at once and in order, and the next turn does not wait', async () => {
  const { calls, stream } = socket();
  writeTogether(stream);
  stream.write('ack');
  stream.write('reply');
  expect(calls).toEqual([]);
  await new Promise(setImmediate);
  expect(calls).toEqual([['ack', 'reply']]);
  stream.write('heartbeat');
  await new Promise(setImmediate);
  expect(calls).toEqual([['ack', 'reply'], ['heartbeat']]);
});

test('nothing is lost when the socket ends in the same turn', async () => {
  const { calls, stream } = socket();
  writeTogether(stream);
  stream.write('close');
  stream.end();
  await new Promise((resolve) => stream.once('finish', resolve));
  expect(calls.flat()).toEqual(['close']);
});

test('a full socket says so, and says when it has room again', async () => {
  const { stream } = socket();
  writeTogether(stream);
  const drained = new Promise((resolve) => stream.once('drain', resolve));
  expect(stream.write('x'.repeat(1 << 20))).toBe(false);
  await drained;
  expect(stream.writableLength).toBe(0);
});
