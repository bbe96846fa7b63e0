/**
 * The least that a server on this broker can do: take a request, acknowledge it, send its argument back. What it needs is the floor
 * under every RPC server in this language. A program of its own: `node echo-server.js URL QUEUE`.
 */
import { connect } from 'amqplib';

const [url, queue] = process.argv.slice(2) as [string, string];
const connection = await connect(url.replace(/^rabbit:/, 'amqp:'), { noDelay: true });
const channel = await connection.createChannel();
await channel.assertQueue(queue, { durable: false, autoDelete: true });
await channel.prefetch(64);
await channel.consume(queue, (delivery) => {
  if (delivery === null) return;
  const request = JSON.parse((JSON.parse(delivery.content.toString()) as { 'oslo.message': string })['oslo.message']) as { _msg_id: string; _reply_q: string; args: unknown };
  channel.ack(delivery);
  const reply = { result: request.args, failure: null, ending: true, _msg_id: request._msg_id };
  channel.publish('', request._reply_q, Buffer.from(JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': JSON.stringify(reply) })), {
    contentType: 'application/json', contentEncoding: 'utf-8', deliveryMode: 2, priority: 0, headers: {},
  });
});
process.stdout.write('ready\n');
