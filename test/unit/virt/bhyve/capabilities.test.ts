import { expect, test } from 'vitest';
import { assertUsable, probeCapabilities } from '../../../../src/virt/bhyve/capabilities.js';
import { cpuTraits, parseCpuFeatures } from '../../../../src/virt/bhyve/cpu-features.js';
import { hostTraits, hypervisorVersion, readInventory } from '../../../../src/virt/bhyve/inventory.js';
import { createBhyveHost, type BhyveHost } from '../../../fakes/bhyve-host.js';
import { createVirtualClock } from '../../../fakes/virtual-clock.js';

const options = { firmwareDirs: ['/usr/local/share/edk2-bhyve'], bootMessagesPath: '/var/run/dmesg.boot' };
// dmesg of FreeBSD 13.2-RELEASE amd64 under emulation, 2026-11-23 (freebsd/transcripts/system.json)
const bootMessages = `CPU: AMD EPYC Processor (2597.46-MHz K8-class CPU)
  Origin="AuthenticAMD"  Id=0x800f12  Family=0x17  Model=0x1  Stepping=2
  Features=0x1783fbfd<FPU,DE,PSE,TSC,MSR,PAE,MCE,CX8,APIC,SEP,MTRR,PGE,MCA,CMOV,PAT,PSE36,MMX,FXSR,SSE,SSE2,HTT>
  Features2=0xfed8320b<SSE3,PCLMULQDQ,MON,SSSE3,FMA,CX16,SSE4.1,SSE4.2,MOVBE,POPCNT,AESNI,XSAVE,OSXSAVE,AVX,F16C,RDRAND,HV>
  AMD Features=0x2c500800<SYSCALL,NX,MMX+,Page1GB,RDTSCP,LM>
  AMD Features2=0x77<LAHF,CMP,SVM,CR8,ABM,SSE4A>
  Structured Extended Features=0x9801a9<FSGSBASE,BMI1,AVX2,SMEP,BMI2,ADX,SMAP,CLFLUSHOPT>
  XSAVE Features=0x5<XSAVEOPT,XINUSE>
  SVM: NP,NAsids=16
`;
const newHost = (): BhyveHost => createBhyveHost(createVirtualClock());

test('a 13.2 host with AMD is usable, takes the LPC boot ROM and has no save and restore', async () => {
  const capabilities = await probeCapabilities(newHost(), options);
  expect(() => assertUsable(capabilities)).not.toThrow();
  expect(capabilities).toMatchObject({
    architecture: 'amd64', release: '13.2-RELEASE', osReleaseDate: 1_302_001, cpuVendor: 'AMD', bootromKey: 'lpc', hasFramebuffer: true, hasSnapshot: false,
    hasTcpConsole: false, suspendExit: 0, maxVcpusPerGuest: 2, firmware: { code: '/usr/local/share/edk2-bhyve/BHYVE_UEFI_CODE.fd' },
  });
});

test('a processor that hides its maker is told by the virtualization that it has', async () => {
  const host = newHost();
  const vendor = async (): Promise<string> => (await probeCapabilities(host, options)).cpuVendor;
  host.sysctls.set('hw.model', 'QEMU Virtual CPU version 2.5+');
  expect(await vendor()).toBe('AMD');
  host.sysctls.set('hw.vmm.svm.features', '0');
  expect(await vendor()).toBe('unknown');
  host.sysctls.set('hw.vmm.vmx.initialized', '1');
  expect(await vendor()).toBe('Intel');
});

test('a bhyve that puts the boot ROM at the top is found out, not guessed from the release', async () => {
  const host = newHost();
  host.answers.set('bhyve -l bootrom,/nonexistent -o config.dump=1 nova-bhyve-probe', { code: 1, stdout: 'bootrom=/nonexistent\nname=x\n', stderr: '' });
  expect((await probeCapabilities(host, options)).bootromKey).toBe('top');
});

test('a bhyve that cannot dump its configuration is judged by its release', async () => {
  const host = newHost();
  host.answers.set('bhyve -l bootrom,/nonexistent -o config.dump=1 nova-bhyve-probe', { code: 1, stdout: '', stderr: 'usage' });
  expect((await probeCapabilities(host, options)).bootromKey).toBe('lpc');
  host.sysctls.set('kern.osreldate', '1501502');
  expect(await probeCapabilities(host, options)).toMatchObject({ bootromKey: 'top', suspendExit: 5, hasTcpConsole: true });
});

test('save and restore needs both halves', async () => {
  const host = newHost();
  host.answers.set('bhyvectl ', { code: 1, stdout: '', stderr: '       [--suspend=<filename>]\n' });
  expect((await probeCapabilities(host, options)).hasSnapshot).toBe(true);
  host.sysctls.set('kern.conftxt', 'options\tVIMAGE\n');
  expect((await probeCapabilities(host, options)).hasSnapshot).toBe(false);
  host.sysctls.set('kern.conftxt', 'options\tBHYVE_SNAPSHOT\n');
  expect((await probeCapabilities(host, options)).hasSnapshot).toBe(true);
});

test('libvdsk is known by its bhyvectl, which cannot suspend, and becomes a capability, a line of check and a trait', async () => {
  const host = newHost();
  const stock = await probeCapabilities(host, options);
  expect(stock.hasLibvdsk).toBe(false);
  expect(stock.findings.find(({ probe }) => probe === 'libvdsk')).toMatchObject({ isOk: true, answer: expect.stringContaining('raw disks only') as string });
  expect(hostTraits(stock, true)).not.toContain('CUSTOM_BHYVE_LIBVDSK');
  host.answers.set('bhyvectl ', { code: 1, stdout: '', stderr: '       [--checkpoint=<name>]\n       [--ext-checkpoint=<name>]\n       [--del-checkpoint=<name>]\n' });
  const capabilities = await probeCapabilities(host, options);
  expect(capabilities).toMatchObject({ hasLibvdsk: true, hasSnapshot: false });
  expect(capabilities.findings.find(({ probe }) => probe === 'libvdsk')?.answer).toContain('qcow2');
  expect(hostTraits(capabilities, true)).toContain('CUSTOM_BHYVE_LIBVDSK');
});

test.each([
  ['no virtualization', (host: BhyveHost) => host.sysctls.set('hw.vmm.svm.features', '0'), /VT-x or SVM/],
  ['no firmware', (host: BhyveHost) => host.outside.drop('/usr/local/share/edk2-bhyve/BHYVE_UEFI_VARS.fd'), /pkg install bhyve-firmware/],
  ['no vmm', (host: BhyveHost) => {
    host.answers.set('kldstat -q -m vmm', { code: 1, stdout: '', stderr: '' });
    host.answers.set('kldload -n vmm', { code: 1, stdout: '', stderr: "kldload: can't load vmm: Operation not permitted\n" });
  }, /kldload vmm/],
  ['a bhyve without disks', (host: BhyveHost) => host.answers.set('bhyve -s help', { code: 0, stdout: 'hostbridge\n', stderr: '' }), /virtio-blk/],
] as const)('a host with %s is unusable, and the error says what to do', async (_what, breakIt, advice) => {
  const host = newHost();
  breakIt(host);
  const capabilities = await probeCapabilities(host, options);
  expect(() => assertUsable(capabilities)).toThrow(advice);
  expect(() => assertUsable(capabilities)).toThrow(expect.objectContaining({ code: 'host-unusable' }));
});

test('a missing optional is a finding with advice, not an error', async () => {
  const host = newHost();
  const findings = (await probeCapabilities(host, options)).findings.filter(({ isOk }) => !isOk);
  expect(findings.map(({ probe }) => probe).sort()).toEqual(['CPU features', 'resource limits', 'save and restore']);
  for (const { advice } of findings) expect(advice).not.toBeNull();
});

test('an arm64 host needs U-Boot and offers no screen', async () => {
  const host = newHost();
  host.sysctls.set('hw.machine_arch', 'aarch64');
  host.outside.put('/usr/local/share/u-boot/u-boot-bhyve-arm64/u-boot.bin', 'u-boot');
  const capabilities = await probeCapabilities(host, { ...options, firmwareDirs: ['/usr/local/share/u-boot'] });
  expect(() => assertUsable(capabilities)).not.toThrow();
  expect(capabilities).toMatchObject({ architecture: 'arm64', hasFramebuffer: false, bootromKey: 'top', firmware: { vars: null } });
  const inventory = await readInventory(host, capabilities, true, undefined);
  expect(inventory.supportedArchitectures).toEqual(['aarch64']);
  expect(inventory.traits.filter((trait) => trait.includes('X86') || trait.includes('GOP'))).toEqual([]);
});

test('CPU features become the traits that a guest really has: not SVM, which bhyve hides', () => {
  const features = parseCpuFeatures(bootMessages);
  expect(features).toContain('SVM');
  const traits = cpuTraits(features);
  expect(traits).toEqual(expect.arrayContaining(['HW_CPU_X86_AVX2', 'HW_CPU_X86_AESNI', 'HW_CPU_X86_SSE42', 'HW_CPU_X86_SSE4A', 'HW_CPU_X86_FMA3', 'HW_CPU_X86_BMI']));
  expect(traits.filter((trait) => /SVM|VMX|3DNOW/.test(trait))).toEqual([]);
  expect(new Set(traits).size).toBe(traits.length);
});

test('the inventory speaks Nova’s units', async () => {
  const host = newHost();
  host.outside.put('/var/run/dmesg.boot', bootMessages);
  const inventory = await readInventory(host, await probeCapabilities(host, options), true, undefined);
  expect(inventory).toMatchObject({ vcpus: 2, memoryMiB: 6122, hypervisorVersion: 13_002_000, hypervisorHostname: 'host1.example.org', supportedArchitectures: ['x86_64', 'i686'] });
  expect(inventory.memoryUsedMiB).toBeGreaterThan(0);
  expect(inventory.memoryUsedMiB).toBeLessThan(inventory.memoryMiB);
  expect(JSON.parse(inventory.cpuInfo)).toMatchObject({ arch: 'x86_64', vendor: 'AMD', topology: { sockets: 1, cores: 2, threads: 1 } });
  expect(inventory.traits).toEqual(expect.arrayContaining(['COMPUTE_STORAGE_BUS_VIRTIO', 'COMPUTE_NET_VIF_MODEL_VIRTIO', 'COMPUTE_GRAPHICS_MODEL_GOP', 'HW_ARCH_X86_64', 'COMPUTE_FIRMWARE_UEFI']));
  expect(inventory.traits).not.toContain('CUSTOM_BHYVE_SNAPSHOT');
});

test.each([['13.2-RELEASE-p11', 13_002_000], ['15.1-STABLE', 15_001_000], ['16.0-CURRENT', 16_000_000], ['unknown', 0]] as const)('release %s is hypervisor version %d', (release, version) => {
  expect(hypervisorVersion(release)).toBe(version);
});
