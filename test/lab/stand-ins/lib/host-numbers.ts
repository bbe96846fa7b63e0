/** The hardware that every lab host claims to have: enough for a dozen small guests, and the same in each run. */
export const host = { cpus: 8, memoryBytes: 17_091_776_512, model: 'AMD EPYC Processor', tscHz: 2_596_100_250, statHz: 127 } as const;
export const pageBytes = 4096;
