/**
 * Taps, bridges and VLANs of this host.
 *
 *   vif_type ovs (our L2 agent)                              vif_type bridge or tap (a foreign L2 agent)
 *   guest ─ tapPORT ─ br-NET[.VLAN] ─ [vlan ─] interface     guest ─ tapPORT (appears; we wait, use it, never change it)
 *
 * Promises: what we make carries the group `novabhyve` and a description that says for whom; nothing without both is changed or removed.
 * Marks are set before the name, so an interface with our name and no marks is somebody else's. Every step looks before it acts.
 * What can go wrong: a name that is taken (refused, the half-made interface is removed), a bridge of another MTU (the guest gets the smaller),
 * a tap that bhyve still holds (refused with `tap-busy`: destroying it would block), an agent that dies half way (plug or unplug again).
 */
export { createPlugger, type PluggerOptions } from './create-plugger.js';
