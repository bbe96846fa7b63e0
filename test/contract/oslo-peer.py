#!/usr/bin/python3
"""The other side of the interop tests: the real oslo.messaging, told by JSON lines on stdin what to do.

{"id", "do": "call", "target": {exchange?, topic, server?, fanout?, namespace?, version?}, "method", "args", "timeout"?, "monitor"?}
{"id", "do": "cast", ...}      {"id", "do": "serve", "topic", "server"}      {"id", "do": "seen"}
{"id", "do": "listen", "topics"}      {"id", "do": "notifications"}
Answers: {"id", "result"} or {"id", "error": {"class", "module", "text", "remote_class", "code", "bases"}}
"""
import json
import sys
import threading
import time

import oslo_messaging
from oslo_config import cfg

import nova.exception


class Endpoint:
    """What our client calls."""

    target = oslo_messaging.Target(version='3.0')

    def __init__(self):
        self.seen = []

    def echo(self, ctxt, **args):
        return {'args': args, 'request_id': ctxt.get('request_id'), 'is_admin': ctxt.get('is_admin')}

    def note(self, ctxt, **args):
        self.seen.append(args)

    def slow(self, ctxt, seconds):
        time.sleep(seconds)
        return 'done'

    def fail(self, ctxt, name, kwargs):
        raise getattr(nova.exception, name)(**kwargs)

    def broken(self, ctxt):
        return {}['no such key']


class Listener:
    """What hears notifications, of each priority."""

    def __init__(self):
        self.heard = []

    def _note(self, priority, ctxt, publisher_id, event_type, payload, metadata):
        self.heard.append({'priority': priority, 'context': ctxt, 'publisher_id': publisher_id, 'event_type': event_type, 'payload': payload, 'metadata': metadata})

    def info(self, *args):
        self._note('info', *args)

    def error(self, *args):
        self._note('error', *args)


def describe(error):
    return {'class': type(error).__name__, 'module': type(error).__module__, 'text': str(error),
            'remote_class': getattr(error, 'exc_type', None), 'code': getattr(error, 'code', None),
            'kwargs': {k: str(v) for k, v in (getattr(error, 'kwargs', None) or {}).items()},
            'bases': [base.__name__ for base in type(error).__mro__]}


def main():
    cfg.CONF([], project='interop', default_config_files=[])
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=sys.argv[1], allowed_remote_exmods=['nova.exception'])
    endpoint = Endpoint()
    listener = Listener()
    lock = threading.Lock()
    context = {'request_id': 'req-interop', 'is_admin': True, 'user_id': None, 'project_id': None}

    def say(answer):
        with lock:
            print(json.dumps(answer, default=str), flush=True)

    def work(order):
        try:
            if order['do'] == 'serve':
                target = oslo_messaging.Target(exchange='nova', topic=order['topic'], server=order['server'])
                server = oslo_messaging.get_rpc_server(transport, target, [endpoint], executor='threading')
                server.start()
                result = None
            elif order['do'] == 'seen':
                result = endpoint.seen
            elif order['do'] == 'listen':
                notifications = oslo_messaging.get_notification_transport(cfg.CONF, url=sys.argv[1])
                targets = [oslo_messaging.Target(exchange='nova', topic=topic) for topic in order['topics']]
                oslo_messaging.get_notification_listener(notifications, targets, [listener], executor='threading').start()
                result = None
            elif order['do'] == 'notifications':
                result = listener.heard
            else:
                where = dict(order['target'])
                where.setdefault('exchange', 'nova')
                client = oslo_messaging.RPCClient(transport, oslo_messaging.Target(**where), timeout=order.get('timeout', 10),
                                                  call_monitor_timeout=order.get('monitor'))
                send = client.call if order['do'] == 'call' else client.cast
                result = send(context, order['method'], **order.get('args', {}))
            say({'id': order['id'], 'result': result})
        except Exception as error:  # each error is an answer
            say({'id': order['id'], 'error': describe(error)})

    say({'id': 0, 'result': 'ready'})
    for line in sys.stdin:
        threading.Thread(target=work, args=(json.loads(line),), daemon=True).start()


main()
