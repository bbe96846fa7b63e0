import { expect, test } from 'vitest';
import { parseInterfaces } from '../../../../src/network/plugger/ifconfig.js';

// ifconfig of FreeBSD 13.2-RELEASE, 2026-11-23 (freebsd/transcripts/ifconfig.json)
const output = `vtnet0: flags=8863<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500
\toptions=80028<VLAN_MTU,JUMBO_MTU,LINKSTATE>
\tether 52:54:00:12:34:56
\tinet 10.0.2.15 netmask 0xffffff00 broadcast 10.0.2.255
\tmedia: Ethernet autoselect (10Gbase-T <full-duplex>)
\tstatus: active
\tnd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>
bridge7: flags=8802<BROADCAST,SIMPLEX,MULTICAST> metric 0 mtu 1500
\tdescription: Public net: 10.0.0.0/8
\tether 58:9c:fc:10:ff:a2
\tid 00:00:00:00:00:00 priority 32768 hellotime 2 fwddelay 15
\tmember: tap12 flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>
\t        ifmaxaddr 0 port 8 priority 128 path cost 2000000
\tmember: tap0 flags=147<LEARNING,DISCOVER,STP,AUTOEDGE,AUTOPTP>
\t        ifmaxaddr 0 port 3 priority 128 path cost 2000000 proto rstp
\t        role disabled state discarding
\tgroups: bridge
\tnd6 options=9<PERFORMNUD,IFDISABLED>
vlan100: flags=8842<BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500
\tdescription: trunk 101
\tgroups: vlan
\tvlan: 101 vlanproto: 802.1q vlanpcp: 0 parent interface: vtnet0
\tmedia: Ethernet autoselect (10Gbase-T <full-duplex>)
tap5: flags=8842<BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 9000
\tgroups: tap vms
\tstatus: active
\tOpened by PID 3396
has space: flags=8802<BROADCAST,SIMPLEX,MULTICAST> metric 0 mtu 1500
\tgroups: tap
`;

test('every interface of a real ifconfig -a is read with what the plugger decides by', () => {
  const nothing = { description: '', groups: [], members: [], vlan: null, openedByPid: null };
  expect(parseInterfaces(output)).toEqual([
    { ...nothing, name: 'vtnet0', mtu: 1500, isUp: true },
    { ...nothing, name: 'bridge7', mtu: 1500, isUp: false, description: 'Public net: 10.0.0.0/8', groups: ['bridge'], members: ['tap12', 'tap0'] },
    { ...nothing, name: 'vlan100', mtu: 1500, isUp: false, description: 'trunk 101', groups: ['vlan'], vlan: { id: 101, parent: 'vtnet0' } },
    { ...nothing, name: 'tap5', mtu: 9000, isUp: false, groups: ['tap', 'vms'], openedByPid: 3396 },
    { ...nothing, name: 'has space', mtu: 1500, isUp: false, groups: ['tap'] },
  ]);
});

test('nothing is read from nothing', () => {
  expect(parseInterfaces('')).toEqual([]);
});
