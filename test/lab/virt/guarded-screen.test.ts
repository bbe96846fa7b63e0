/** A guest on a lab node whose screen has a password, seen through the relay. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readExactly } from '../../../src/console/read-exactly.js';
import type { HypervisorDriver } from '../../../src/virt/index.js';
import { makeCertificates, type Certificates } from '../../fakes/certificates.js';
import { secureAs } from '../../fakes/console-proxy.js';
import { waitUntil } from '../../fakes/wait-until.js';
import { waitClean } from '../leaks.js';
import { createLabHost, type LabGuest, type LabHost } from './lab-guest.js';

const address = '127.0.0.2';
let lab: LabHost;
let driver: HypervisorDriver;
let guest: LabGuest;
let folder: string;
let certificates: Certificates;
const sockets: Socket[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'guarded-'));
  certificates = await makeCertificates(folder);
  lab = await createLabHost('virt-g', 'stock-13.2');
  const files = { certificate: certificates.file('host', 'pem'), key: certificates.file('host', 'key'), clientAuthority: certificates.file('ca', 'pem') };
  ({ driver } = await lab.newDriver({ address, files }));
  guest = await lab.guest('10.20.5.77');
  const { tapName } = await lab.plugger.plug(guest.instance, guest.vif, new AbortController().signal);
  await driver.define(guest.definition(tapName));
  await driver.start(guest.instance);
});
afterAll(async () => {
  sockets.forEach((socket) => socket.destroy());
  await driver?.destroy(guest.instance);
  await lab?.plugger.unplug(guest.instance, guest.vif.id);
  await lab?.host.run('zfs', ['destroy', `${lab.node.zfsRoot}/${guest.instance}`]);
  if (lab !== undefined) await waitClean(lab.node);
  await lab?.close();
  await lab?.node.destroy();
  rmSync(folder, { recursive: true, force: true });
});

async function dial(host: string, port: number): Promise<Socket> {
  const socket = connect({ host, port });
  socket.on('error', () => socket.destroy());
  sockets.push(socket);
  await once(socket, 'connect');
  return socket;
}

/** ClientInit, and what ServerInit says: the screen's size and name. */
async function look(viewer: Socket): Promise<{ width: number; height: number; name: string }> {
  viewer.write(Buffer.from([1]));
  const init = await readExactly(viewer, 24);
  return { width: init.readUInt16BE(0), height: init.readUInt16BE(2), name: (await readExactly(viewer, init.readUInt32BE(20))).toString() };
}

test('its own VNC server lets nobody in without the password, and the relay shows the screen to a proxy with a certificate', async () => {
  const direct = await driver.vncEndpoint(guest.instance);
  expect(direct?.host).toBe('127.0.0.1');
  const stranger = await dial('127.0.0.1', direct!.port);
  await readExactly(stranger, 12);
  stranger.write('RFB 003.008\n');
  expect((await readExactly(stranger, 2)).toString('hex')).toBe('0102');
  stranger.destroy();
  const endpoint = await driver.openVncConsole(guest.instance);
  expect(endpoint).toEqual({ host: address, port: direct!.port });
  const tls = await secureAs(await dial(address, endpoint!.port), certificates, 'proxy');
  sockets.push(tls);
  expect((await readExactly(tls, 4)).readUInt32BE()).toBe(0);
  const { width, height, name } = await look(tls);
  expect([width > 300, height > 200, name.length > 0]).toEqual([true, true, true]);
  await driver.stop(guest.instance, { graceMs: 0, retryMs: 1000 });
  await waitUntil(() => tls.destroyed || tls.readableEnded, 'the session ends with the guest');
  expect(await driver.openVncConsole(guest.instance)).toBeNull();
});
