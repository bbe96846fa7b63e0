import { expect, test } from 'vitest';
import { qemuImage, useLab } from './support/use-lab.js';

const lab = useLab();

const hostile: readonly { readonly name: string; readonly format: 'qcow2' | 'raw' | 'vmdk'; readonly make: () => Promise<Uint8Array> }[] = [
  { name: "a qcow2 whose backing file is the host's password file", format: 'qcow2', make: () => qemuImage('qcow2', '-b', '/etc/passwd', '-F', 'raw', 'FILE', '16M') },
  { name: 'a qcow2 with its data in a file of the host', format: 'qcow2', make: () => withExternalData('/etc/shadow') },
  { name: 'a vmdk whose extent is a file of the host', format: 'vmdk', make: async () => new TextEncoder().encode(descriptor('/etc/shadow')) },
  { name: 'a qcow2 that Glance was told is raw', format: 'raw', make: () => qemuImage('qcow2', '-b', '/etc/passwd', '-F', 'raw', 'FILE', '16M') },
  { name: 'a file that is not the qcow2 it is called', format: 'qcow2', make: async () => new TextEncoder().encode('no image, only words\n'.repeat(1000)) },
];

/** qemu-img writes the name of the data file into the header and makes the file beside it; then only the name in the header is exchanged for another of its length. */
async function withExternalData(target: string): Promise<Uint8Array> {
  const stand = `/tmp/${'x'.repeat(target.length - 5)}`;
  const { rm } = await import('node:fs/promises');
  const image = Buffer.from(await qemuImage('qcow2', '-o', `data_file=${stand}`, 'FILE', '16M').finally(() => rm(stand, { force: true })));
  image.write(target, image.indexOf(stand), 'latin1');
  return image;
}

const descriptor = (file: string): string => `# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="monolithicFlat"

# Extent description
RW 32768 FLAT "${file}" 0
`;

test.for(hostile)('$name: the build ends in ERROR, the fault blames the image, and nothing is left', async ({ format, make }) => {
  const { cloud, create, upload } = lab();
  const image = await upload({ name: 'hostile', diskFormat: format }, await make());
  const [id] = await create({ image });
  const server = await cloud.servers.waitStatus(id!, 'ERROR');
  expect(server.fault!.message).toMatch(/image/i);
  expect(server.fault!.message).not.toMatch(/No valid host|stack|at .*\.js/);
  expect(server.fault!.message).not.toContain('shadow');
});
