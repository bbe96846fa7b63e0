/** Two ends of a cable in memory: what is written into one is read from the other, as fast as that reads. */
import { Duplex } from 'node:stream';

export function duplexPair(): [Duplex, Duplex] {
  const waiting = new Map<Duplex, () => void>();
  const make = (other: () => Duplex): Duplex => {
    const end: Duplex = new Duplex({
      read() {
        const taken = waiting.get(end);
        waiting.delete(end);
        taken?.();
      },
      write(chunk: Buffer, _encoding, done) {
        if (other().push(chunk)) done();
        else waiting.set(other(), done);
      },
      final(done) {
        other().push(null);
        done();
      },
    });
    return end;
  };
  const ends: Duplex[] = [];
  ends.push(make(() => ends[1]!), make(() => ends[0]!));
  return [ends[0]!, ends[1]!];
}
