/**
 * How the operator's commands have the running agent do something: it alone has the gates, the journal and the guests.
 *
 *   nova-bhyve ──{"request":NAME,"args":…}──▶ state_path/control/agent.sock ──▶ compute/operator
 *              ◀──{"progress":TEXT} …  then {"result":…} or {"error":{code,message,retry}}──
 *
 * One request per connection, lines of JSON with a limit each. The file system says who may ask: the socket's folder is the agent's own (0700). An operator who hangs up
 * does not stop what he has begun, and what a kill of the agent cuts off is finished or undone when it runs again. Of what cannot be read, nothing is done.
 */
export { askAgent } from './ask-agent.js';
export { socketPathOf } from './protocol.js';
export { controlRequests, requestsOf, type CreateAnswer, type DeleteAnswer, type FlattenAnswer, type RestoreAnswer } from './requests.js';
export { serveControl, type ControlRequest, type ControlServer } from './serve-control.js';
