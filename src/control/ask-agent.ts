/** The command's end of the control socket; see index.ts. */
import { connectLocally } from '../host/index.js';
import { AgentError } from '../lib/errors.js';
import { answerLine, createLineReader, maxAnswerBytes, parseLine, renderLine, socketPathOf } from './protocol.js';

export interface Question {
  readonly statePath: string;
  readonly request: string;
  readonly args: unknown;
  readonly progress: (text: string) => void;
}

/**
 * Has the running agent do something, and waits for it as long as it takes. The agent's own error is thrown with its code. AgentError `agent-not-running`; `agent-gone`
 * when it ended before it answered.
 */
export async function askAgent({ statePath, request, args, progress }: Question): Promise<unknown> {
  const connection = await connectLocally(socketPathOf(statePath));
  if (connection === undefined) throw new AgentError('agent-not-running', `the agent of ${statePath} does not run, or is not ready yet: start it with "service nova_bhyve start"`);
  try {
    await connection.write(renderLine({ request, args }));
    const reader = createLineReader(connection.input, maxAnswerBytes);
    for (let line = await reader.next(); line !== null; line = await reader.next()) {
      const answer = parseLine(answerLine, line);
      if ('progress' in answer) progress(answer.progress);
      else if ('error' in answer) throw new AgentError(answer.error.code, answer.error.message, { retry: answer.error.retry });
      else return answer.result;
    }
    throw new AgentError('agent-gone', 'the agent ended before it answered; what it had begun it finishes or undoes when it runs again', { retry: 'later' });
  } finally {
    connection.close();
  }
}
