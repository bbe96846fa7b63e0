/**
 * Which x86 features a guest sees, as Placement traits. FreeBSD has no sysctl that lists them (kern, hw and machdep of 13.2 were read through):
 * the kernel prints them at boot, and /etc/rc keeps that text in /var/run/dmesg.boot. Without the file we claim no HW_CPU trait at all, which
 * costs schedulers a choice but never breaks a guest. bhyve hides some features (VMX, SVM, …): only such are listed that it passes through.
 */

/** FreeBSD's name in `Features=…<…>` lines → the trait. Names that bhyve masks for the guest are absent on purpose. */
const traitsByFeature: Readonly<Record<string, string>> = {
  MMX: 'HW_CPU_X86_MMX', SSE: 'HW_CPU_X86_SSE', SSE2: 'HW_CPU_X86_SSE2', SSE3: 'HW_CPU_X86_SSE3', SSSE3: 'HW_CPU_X86_SSSE3', 'SSE4.1': 'HW_CPU_X86_SSE41',
  'SSE4.2': 'HW_CPU_X86_SSE42', SSE4A: 'HW_CPU_X86_SSE4A', AESNI: 'HW_CPU_X86_AESNI', PCLMULQDQ: 'HW_CPU_X86_CLMUL', AVX: 'HW_CPU_X86_AVX', AVX2: 'HW_CPU_X86_AVX2',
  F16C: 'HW_CPU_X86_F16C', FMA: 'HW_CPU_X86_FMA3', ABM: 'HW_CPU_X86_ABM', BMI1: 'HW_CPU_X86_BMI', BMI2: 'HW_CPU_X86_BMI2', SHA: 'HW_CPU_X86_SHA',
  AVX512F: 'HW_CPU_X86_AVX512F', AVX512CD: 'HW_CPU_X86_AVX512CD', AVX512BW: 'HW_CPU_X86_AVX512BW', AVX512DQ: 'HW_CPU_X86_AVX512DQ', AVX512VL: 'HW_CPU_X86_AVX512VL',
};

/** Feature names of all `…Features…=0x…<A,B>` lines of the boot messages, each once, in order. */
export function parseCpuFeatures(bootMessages: string): string[] {
  const names = [...bootMessages.matchAll(/^\s+(?:\S+ )*Features\d*=0x[0-9a-f]+<([^>]*)>/gmi)].flatMap((match) => (match[1] ?? '').split(','));
  return [...new Set(names.map((name) => name.trim()).filter((name) => name !== ''))];
}

export const cpuTraits = (features: readonly string[]): string[] => features.flatMap((feature) => traitsByFeature[feature] ?? []);
