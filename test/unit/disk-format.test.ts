import { expect, test } from 'vitest';
import type { Config } from '../../src/config/index.js';
import { refuseFormatWithoutReader } from '../../src/disk-format.js';

const config = (format: 'raw' | 'qcow2') => ({ bhyve: { disk_format: format } as Config['bhyve'] });

test('an agent that is to make qcow2 disks does not start on a bhyve that opens raw ones only, and says what to do', () => {
  expect(() => refuseFormatWithoutReader(config('qcow2'), { hasLibvdsk: false })).toThrow(/disk_format is qcow2.*set it to raw, or install a bhyve with libvdsk/);
  refuseFormatWithoutReader(config('qcow2'), { hasLibvdsk: true });
  refuseFormatWithoutReader(config('raw'), { hasLibvdsk: false });
});
