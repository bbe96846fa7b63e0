import { expect, test } from 'vitest';
import type { Config } from '../../src/config/index.js';
import { lookAtScreenTls } from '../../src/screen-files.js';
import { createFakeHost } from '../fakes/host.js';
import { ownCertificate, ownKey } from '../fakes/own-certificate.js';
import { createVirtualClock } from '../fakes/virtual-clock.js';

const vnc = (changes: Partial<Config['vnc']> = {}) => ({ vnc: { enabled: true, tls_cert_file: '/c', tls_key_file: '/k', tls_client_ca_file: '/c', ...changes } as Config['vnc'] });
const { files, disk } = createFakeHost();
disk.files.set('/c', Buffer.from(ownCertificate));
disk.files.set('/k', Buffer.from(ownKey));
const look = (config: ReturnType<typeof vnc>, now?: Date): Promise<unknown> => lookAtScreenTls(config, files, createVirtualClock(now));

test('TLS files of screens are looked at only where screens are guarded', async () => {
  const none = { tls_cert_file: null, tls_key_file: null, tls_client_ca_file: null };
  expect([await look(vnc(none)), await look(vnc({ enabled: false, tls_key_file: '/none' }))]).toEqual([null, null]);
  expect(await look(vnc())).toMatchObject({ isExpired: false });
});

test('an agent with files that cannot be used does not start, and says which; one with a certificate that has expired does, since the next one is taken up without a restart', async () => {
  await expect(look(vnc({ tls_key_file: '/none' }))).rejects.toMatchObject({ code: 'tls-file-unreadable', message: '[vnc] tls_key_file: there is no file /none' });
  await expect(look(vnc({ tls_key_file: '/c' }))).rejects.toMatchObject({ code: 'tls-file-invalid' });
  expect(await look(vnc(), new Date('2200-01-01T00:00:00Z'))).toMatchObject({ isExpired: true });
});
