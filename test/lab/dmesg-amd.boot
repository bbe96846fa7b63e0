FreeBSD 13.2-RELEASE #0: Mon Nov 23 04:30:48 UTC 2026
    root@builder:/usr/obj/usr/src/amd64.amd64/sys/GENERIC amd64
CPU: AMD EPYC Processor (2597.46-MHz K8-class CPU)
  Origin="AuthenticAMD"  Id=0x800f12  Family=0x17  Model=0x1  Stepping=2
  Features=0x1783fbfd<FPU,DE,PSE,TSC,MSR,PAE,MCE,CX8,APIC,SEP,MTRR,PGE,MCA,CMOV,PAT,PSE36,MMX,FXSR,SSE,SSE2,HTT>
  Features2=0xfed8320b<SSE3,PCLMULQDQ,MON,SSSE3,FMA,CX16,SSE4.1,SSE4.2,MOVBE,POPCNT,AESNI,XSAVE,OSXSAVE,AVX,F16C,RDRAND,HV>
  AMD Features=0x2c500800<SYSCALL,NX,MMX+,Page1GB,RDTSCP,LM>
  AMD Features2=0x77<LAHF,CMP,SVM,CR8,ABM,SSE4A>
  Structured Extended Features=0x9801a9<FSGSBASE,BMI1,AVX2,SMEP,BMI2,ADX,SMAP,CLFLUSHOPT>
  XSAVE Features=0x5<XSAVEOPT,XINUSE>
  SVM: NP,NAsids=16
real memory  = 6442450944 (6144 MB)
avail memory = 6184202240 (5897 MB)
Event timer "LAPIC" quality 600
ACPI APIC Table: <BOCHS  BXPC    >
FreeBSD/SMP: Multiprocessor System Detected: 2 CPUs
FreeBSD/SMP: 1 package(s) x 2 core(s)
