#!/usr/bin/python3
"""What Nova's own code makes of an instance: reads {"instance", "context", "bdms", "times", "units"} as JSON, prints {"legacy", "addresses", "versioned": {class: payload}, "periods": {unit: [[begin, end] of each time]}}."""
import datetime
import json
import sys

from oslo_serialization import jsonutils

import nova.conf
import nova.utils
from nova import context as nova_context
from nova import objects
from nova import rpc
from nova.image import glance
from nova.notifications import base
from nova.notifications.objects import flavor as flavor_payload
from nova.notifications.objects import instance as payloads

CONF = nova.conf.CONF


class On:
    def is_enabled(self):
        return True


def main():
    CONF([], project='nova', default_config_files=[])
    CONF.set_override('notification_format', 'both', 'notifications')
    rpc.NOTIFIER = On()
    glance.API.generate_image_url = lambda self, image, context: 'http://glance:9292/images/%s' % image
    objects.register_all()
    asked = json.load(sys.stdin)
    context = nova_context.RequestContext(**asked['context'])
    instance = objects.Instance.obj_from_primitive(asked['instance'], context)
    bdms = objects.BlockDeviceMappingList.obj_from_primitive(asked['bdms'], context)

    def primitive(payload):
        payload.obj_reset_changes(recursive=True)
        return payload.obj_to_primitive()

    image = 'dddddddd-0000-4000-8000-00000000000d'
    made = {
        'action': payloads.InstanceActionPayload(context, instance, None),
        'create': payloads.InstanceCreatePayload(context, instance, None, bdms),
        'rescue': payloads.InstanceActionRescuePayload(context, instance, None, image),
        'rebuild': payloads.InstanceActionRebuildPayload(context, instance, None),
        'snapshot': payloads.InstanceActionSnapshotPayload(context, instance, None, image),
        'resize-prep': payloads.InstanceActionResizePrepPayload(context, instance, None, flavor_payload.FlavorPayload(instance.flavor)),
        'volume': payloads.InstanceActionVolumePayload(context, instance, None, image),
    }
    begin = datetime.datetime(2026, 11, 1, tzinfo=datetime.timezone.utc)
    end = datetime.datetime(2026, 11, 23, 6, 0, 1, tzinfo=datetime.timezone.utc)
    period = payloads.AuditPeriodPayload(audit_period_beginning=begin, audit_period_ending=end)
    made['exists'] = payloads.InstanceExistsPayload(context, instance, period)
    answer = {
        'periods': {
            unit: [[str(time) for time in nova.utils.last_completed_audit_period(unit, datetime.datetime.fromisoformat(now))] for now in asked['times']]
            for unit in asked['units']
        },
        'legacy': base.info_from_instance(context, instance, None, populate_image_ref_url=True),
        'addresses': base.info_from_instance(context, instance, instance.get_network_info(), populate_image_ref_url=True),
        'versioned': {kind: primitive(payload) for kind, payload in made.items()},
    }
    print(json.dumps(jsonutils.to_primitive(answer, convert_instances=True)))


main()
