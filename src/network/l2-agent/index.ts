/**
 * Our own L2 agent: what Neutron's server must hear so that it binds ports to this host and makes them ACTIVE (wire.md section 10).
 * To Neutron we are an Open vSwitch agent, because the in-tree openvswitch mechanism driver is the only one left that binds for an agent
 * in all releases (linuxbridge is gone from 2025.1). The wiring itself is the plugger's.
 *
 *   every 30 s ─ report_state ─▶ answered "alive"           nothing to do
 *                                answered "new", "revived"  compare: all devices that we own are asked for and announced anew
 *                                not answered               again, with full jitter
 *   deviceUp/deviceDown ─▶ announced ─▶ told                not told: kept and repeated until it is, or until the opposite is wanted
 *
 * Promises: what is announced last is what Neutron knows in the end, whatever was away meanwhile. Neutron being away never fails a
 * plug by itself: the build waits for network-vif-plugged anyway, with a limit of its own. Without our reports for 75 s
 * (agent_down_time) Neutron binds no new port to this host; ports that are bound stay as they are.
 * Asking for a device's details sets an ACTIVE port to BUILD until it is announced up again: Neutron's doing, so we ask only to plug
 * or to compare.
 */
export { createL2Agent, type L2AgentDeps, type L2AgentService } from './create-l2-agent.js';
