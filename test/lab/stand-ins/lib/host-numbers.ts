/** The hardware that every lab host claims to have: enough for a dozen small guests, and the same in each run. */
export const host = { cpus: 8, memoryBytes: 17_091_776_512, tscHz: 2_596_100_250, statHz: 127 } as const;
export const pageBytes = 4096;

/** What depends on whose processor it is: AMD's values are the recorded ones, Intel's are those of a machine with VT-x in full. */
export const processors = {
  amd: { model: 'AMD EPYC Processor', sysctls: { 'hw.vmm.svm.features': '1', 'hw.vmm.vmx.initialized': '0' } },
  intel: {
    model: 'Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz',
    sysctls: {
      'hw.vmm.svm.features': '0', 'hw.vmm.svm.num_asids': '0', 'hw.vmm.svm.vmcb_clean': '0', 'hw.vmm.npt.pmap_flags': '0', 'hw.vmm.vmx.initialized': '1', 'hw.vmm.vmx.cap.halt_exit': '1',
      'hw.vmm.vmx.cap.pause_exit': '1', 'hw.vmm.vmx.cap.unrestricted_guest': '1', 'hw.vmm.vmx.cap.monitor_trap': '1', 'hw.vmm.vmx.cap.invpcid': '1', 'hw.vmm.vmx.cap.rdtscp': '1',
      'hw.vmm.vmx.cap.tpr_shadowing': '1', 'hw.vmm.vmx.cap.virtual_interrupt_delivery': '1', 'hw.vmm.vmx.cap.posted_interrupts': '1',
    },
  },
} as const;
