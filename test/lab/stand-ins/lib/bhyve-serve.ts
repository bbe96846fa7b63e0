/** What bhyve serves beside the machine: the serial console and the screen. QEMU's ends are sockets in a private folder. */
import { type Server, type Socket, createConnection, createServer } from 'node:net';
import type { ConsolePlan, ScreenPlan } from './bhyve-plan.js';
import { deviceFailure } from './bhyve-plan.js';
import { openNullModem } from './null-modem.js';
import { out, strerror } from './tool.js';

export interface ConsoleServer {
  /** Where QEMU has to connect to, as `-serial` wants it. */
  readonly argument: string;
  /** Resolves when the last octet of the guest has been passed on. */
  finished(): Promise<void>;
  close(): void;
}

export interface Sink {
  write(data: Buffer): void;
  /** Called with QEMU's end once it is there. */
  attach(machine: Socket): void;
  close(): void;
}

export async function serveConsole(plan: ConsolePlan, folder: string): Promise<ConsoleServer> {
  if (plan.kind === 'none') return { argument: 'none', finished: async () => undefined, close: () => undefined };
  const sink = await openSink(plan);
  const path = `${folder}/com1`;
  let isConnected = false;
  let markFinished: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => {
    markFinished = resolve;
  });
  const server = createServer((machine) => {
    isConnected = true;
    machine.on('data', (data) => sink.write(data));
    machine.on('error', () => machine.destroy());
    machine.on('close', () => markFinished());
    sink.attach(machine);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    argument: `unix:${path}`,
    finished: async () => (isConnected ? finished : undefined),
    close: () => {
      server.close();
      sink.close();
    },
  };
}

async function openSink(plan: Exclude<ConsolePlan, { kind: 'none' }>): Promise<Sink> {
  switch (plan.kind) {
    case 'stdio':
      return stdioSink();
    case 'nmdm':
      return openNullModem(plan.peer);
    case 'tcp':
      return tcpSink(plan.host, plan.port);
    default: {
      const rest: never = plan;
      return rest;
    }
  }
}

function stdioSink(): Sink {
  return {
    write: (data) => {
      out(data.toString('latin1'));
    },
    attach: (machine) => {
      process.stdin.on('data', (data) => machine.write(data));
      process.stdin.on('error', () => undefined);
    },
    close: () => process.stdin.destroy(),
  };
}

/** One client; a second connection is closed at once. */
async function tcpSink(host: string, port: number): Promise<Sink> {
  let client: Socket | undefined;
  let machine: Socket | undefined;
  const server = createServer((socket) => {
    if (client !== undefined) {
      socket.destroy();
      return;
    }
    client = socket;
    socket.on('data', (data) => machine?.write(data));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      client = undefined;
    });
  });
  await listen(server, host, port, `Unable to initialize backend 'tcp=${host}:${port}' for LPC device com1\n`);
  return {
    write: (data) => client?.write(data),
    attach: (socket) => {
      machine = socket;
    },
    close: () => {
      server.close();
      client?.destroy();
    },
  };
}

async function listen(server: Server, host: string, port: number, words: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(deviceFailure(words, strerror(error))));
    server.listen({ host, port }, resolve);
  });
}

export interface ScreenServer {
  /** Resolves with the first viewer. */
  readonly firstViewer: Promise<void>;
  close(): void;
}

/** RFB for viewers at the configured address, passed on to QEMU's socket. */
export async function serveScreen(plan: ScreenPlan, folder: string): Promise<ScreenServer> {
  const open = new Set<Socket>();
  let markViewer: () => void = () => undefined;
  const firstViewer = new Promise<void>((resolve) => {
    markViewer = resolve;
  });
  const server = createServer((viewer) => {
    const machine = createConnection(`${folder}/vnc`);
    for (const [socket, other] of [[viewer, machine], [machine, viewer]] as const) {
      open.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        open.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
    markViewer();
  });
  await listen(server, plan.host, plan.port, 'bind: Address already in use\n');
  return {
    firstViewer,
    close: () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}
