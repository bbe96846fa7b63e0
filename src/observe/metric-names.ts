/** Every metric of the agent: `agent_<noun>_<unit>`, few labels, never a uuid. A test compares the list with what src uses. */

export interface MetricDefinition {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels?: readonly string[];
  /** Seconds; default `quick`. */
  readonly buckets?: readonly number[];
}

const quick = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const slow = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800];

const counter = (help: string, ...labels: string[]): MetricDefinition => ({ type: 'counter', help, labels });
const gauge = (help: string, ...labels: string[]): MetricDefinition => ({ type: 'gauge', help, labels });
const histogram = (buckets: readonly number[], help: string, ...labels: string[]): MetricDefinition => ({ type: 'histogram', help, labels, buckets });

export const metricDefinitions: Readonly<Record<string, MetricDefinition>> = {
  agent_build_failures_count: counter('Builds that failed', 'kind'),
  agent_command_seconds: histogram(quick, 'Commands of the host', 'tool', 'outcome'),
  agent_control_requests_total: counter('What operators asked for over the control socket', 'request', 'outcome'),
  agent_duty_seconds: histogram(slow, 'Periodic duties', 'duty', 'outcome'),
  agent_guest_events_total: counter('Guests that ended, started or rebooted without our asking', 'kind'),
  agent_guests_count: gauge('Guests defined here, at the last sweep', 'state'),
  agent_health_ok: gauge('1 if this part of the agent is well', 'part'),
  agent_image_import_seconds: histogram(slow, 'Download, inspection and conversion of an image', 'format'),
  agent_image_requests_total: counter('Images asked for', 'outcome'),
  agent_image_uploads_total: counter('Disks that were to become images', 'outcome'),
  agent_journal_bytes: gauge('Size of the journal when it was last renewed'),
  agent_journal_open_count: gauge('Operations that have not ended'),
  agent_l2_announce_failures_total: counter('Reports of our L2 agent that Neutron did not take'),
  agent_l2_reporting: gauge("1 if Neutron takes our L2 agent's reports"),
  agent_l2_untold: gauge('Ports whose state Neutron has not been told yet'),
  agent_loop_lag_seconds: gauge('How late the event loop was at the last look'),
  agent_metrics_unknown_total: counter('Uses of a metric that is not in the list: a bug'),
  agent_open_requests_count: gauge('Requests accepted by the gates of the instances'),
  agent_operation_seconds: histogram(slow, 'Operations', 'rpc', 'outcome'),
  agent_rpc_accept_failures_total: counter('Messages that could not be journalled'),
  agent_rpc_call_seconds: histogram(quick, 'Calls to other services', 'topic'),
  agent_rpc_callable: gauge('1 if our own ping through the broker came back in time'),
  agent_rpc_calls_waiting: gauge('Calls that wait for an answer'),
  agent_rpc_channel_losses_total: counter('Channels that the broker closed', 'channel'),
  agent_rpc_connected: gauge('1 if connected to the broker'),
  agent_rpc_disconnects_total: counter('Connections to the broker that were lost'),
  agent_rpc_failures_total: counter('Requests that ended in an exception for the caller'),
  agent_rpc_handle_seconds: histogram(slow, 'Requests, from arrival to answer', 'rpc'),
  agent_rpc_in_flight: gauge('Requests being handled'),
  agent_rpc_malformed_total: counter('Messages that could not be read'),
  agent_rpc_messages_total: counter('Messages received'),
  agent_rpc_replies_lost_total: counter('Answers that nobody could take any more'),
  agent_rpc_self_call_misses_total: counter('Own pings through the broker that did not come back'),
  agent_step_seconds: histogram(slow, 'Steps of operations', 'rpc', 'step'),
};
