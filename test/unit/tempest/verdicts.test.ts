import { describe, expect, it } from 'vitest';
import { createReader, summarize } from '../../tempest/verdicts.js';

const group = 'tempest.api.compute.servers.test_x.XTest';
const read = (tests: readonly string[], lines: readonly string[]) => {
  const reader = createReader(tests);
  for (const line of lines) reader.read(line);
  return reader.verdicts();
};

describe('the verdicts of a run of Tempest', () => {
  it('are read from its lines, with what a failure says', () => {
    const verdicts = read([`${group}.test_a`, `${group}.test_b`, `${group}.test_c`], [
      `{0} ${group}.test_a [1.507421s] ... ok`,
      `{1} ${group}.test_b [2.000000s] ... FAILED`,
      '',
      'Captured traceback:',
      '    Bad things',
      `{0} ${group}.test_c [0.000000s] ... SKIPPED: Pause is not available.`,
    ]);
    expect(verdicts).toEqual([
      { test: `${group}.test_a`, outcome: 'passed', seconds: 1.507421, text: '' },
      { test: `${group}.test_b`, outcome: 'failed', seconds: 2, text: '\nCaptured traceback:\n    Bad things\n' },
      { test: `${group}.test_c`, outcome: 'skipped', seconds: 0, text: 'Pause is not available.' },
    ]);
  });

  it('of a class that could not be set up are those of its tests', () => {
    expect(read([`${group}.test_a`, `${group}.test_b`], [`{0} setUpClass (${group}) ... SKIPPED: Volume service not enabled.`]).map(({ outcome }) => outcome)).toEqual(['skipped', 'skipped']);
    expect(read([`${group}.test_a`], [`{0} setUpClass (${group}) [0.000000s] ... FAILED`])).toMatchObject([{ test: `${group}.test_a`, outcome: 'failed' }]);
  });

  it('of a class that could not be taken down are failures, whatever its tests said', () => {
    expect(read([`${group}.test_a`], [`{0} ${group}.test_a [1.0s] ... ok`, `{0} tearDownClass (${group}) [0.0s] ... FAILED`])).toMatchObject([{ outcome: 'failed' }]);
  });

  it('count a test of which nothing was heard as failed', () => {
    expect(read([`${group}.test_a`], [])).toMatchObject([{ outcome: 'failed', text: 'Tempest did not run it' }]);
  });

  it('are summed up with the reasons of skips, most frequent first', () => {
    const skip = (text: string) => ({ test: 't', outcome: 'skipped', seconds: 0, text }) as const;
    expect(summarize([skip('XTest skipped as neutron is not available'), skip('Pause.'), skip('YTest skipped as neutron is not available'), { test: 't', outcome: 'passed', seconds: 1, text: '' }]))
      .toEqual({ passed: 1, failed: 0, skipped: 3, reasons: [{ reason: 'neutron is not available', count: 2 }, { reason: 'Pause.', count: 1 }] });
  });
});
