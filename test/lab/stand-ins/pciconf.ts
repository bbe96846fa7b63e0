/** pciconf(8) -l[v]: a host without devices for passthrough. */
import { getopt, out, runTool } from './lib/tool.js';

const devices = [
  ['hostb0@pci0:0:0:0', '0x060000', '0x8086', '0x29c0'], ['vgapci0@pci0:0:1:0', '0x030000', '0x1234', '0x1111'], ['ahci0@pci0:0:31:2', '0x010601', '0x8086', '0x2922'],
  ['ix0@pci0:1:0:0', '0x020000', '0x8086', '0x1563'],
] as const;

runTool((args) => {
  const { options, operands } = getopt(args, 'lvbcewBVIar');
  if (!options.some(({ flag }) => flag === 'l')) return 1;
  const wanted = devices.filter(([name]) => operands[0] === undefined || name.endsWith(operands[0]));
  out(wanted.map(([name, kind, vendor, device]) => `${name}:\tclass=${kind} rev=0x00 hdr=0x00 vendor=${vendor} device=${device} subvendor=0x1af4 subdevice=0x1100\n`).join(''));
  return 0;
});
