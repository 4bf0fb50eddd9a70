// A Node program that loads the .proto files as they lie in share/aima/proto, as any user of the public port would
// write it. It prints one JSON object: what it saw, which test_grpc_node.py judges.
//
// usage: node grpc_scenario.mjs ADDRESS PROTO_DIR MODEL ADMIN_KEY [CA_FILE]
import { readFileSync } from 'node:fs';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const [address, protos, model, adminKey, ca] = process.argv.slice(2);
const credentials = ca ? grpc.credentials.createSsl(readFileSync(ca)) : grpc.credentials.createInsecure();

function client(domain, service) {
  const definition = loader.loadSync(`aima/${domain}/v1/${domain}.proto`,
                                     { includeDirs: [protos], keepCase: true, longs: Number, enums: String, defaults: true });
  return new (grpc.loadPackageDefinition(definition).aima[domain].v1[service])(address, credentials);
}

const metadata = (key) => {
  const made = new grpc.Metadata();
  if (key) made.set('authorization', `Bearer ${key}`);
  return made;
};

const call = (stub, method, request, options = {}, key = adminKey) => new Promise((done, failed) => {
  const deadline = Date.now() + 60000;
  stub[method](request, metadata(key), { deadline, ...options }, (error, answer) => error ? failed(error) : done(answer));
});

// What a failed call says of itself.
async function failure(calling) {
  try {
    await calling;
    return { code: 'OK' };
  } catch (error) {
    return { code: grpc.status[error.code], message: error.details,
             details: error.metadata.get('grpc-status-details-bin').map((bytes) => bytes.toString('latin1')).join() };
  }
}

const told = {};
const device = client('device', 'DeviceService');
told.memory = (await call(device, 'Info', {})).memory.total;
told.not_found = await failure(call(device, 'SetPowerLimit', { device_id: 'no-such-device', limit_watts: 100 }));
told.wrong_key = await failure(call(device, 'Info', {}, {}, 'aima_nobody_' + '0'.repeat(64)));

if (model) {
  const inference = client('inference', 'InferenceService');
  const question = { model, message: 'What is the capital of France? One sentence.', temperature: 0, max_tokens: 16 };
  told.whole = (await call(inference, 'Chat', question)).content;
  told.pieces = [];
  for await (const chunk of inference.ChatStream(question, metadata(adminKey))) told.pieces.push(chunk.content);

  const events = client('event', 'EventService');
  const { latest } = await call(events, 'Query', { limit: 1 });
  // The model may not decide to stop early. (proto-loader takes keepCase for the files it loads, not for its own copy of
  // google.protobuf.Struct, whose fields are camelCase whatever one asks.)
  const endless = { model, message: 'Count to one thousand.', max_tokens: 100000,
                    engine_options: { fields: { ignore_eos: { boolValue: true } } } };
  const running = inference.ChatStream(endless, metadata(adminKey));
  told.left = await new Promise((done) => {
    running.once('data', () => running.cancel());
    running.once('error', (error) => done(grpc.status[error.code]));
  });
  const subscription = events.Subscribe({ after: latest, types: ['inference.request_failed'] }, metadata(adminKey),
                                        { deadline: Date.now() + 30000 });
  told.ended = await new Promise((done) => {
    subscription.on('data', (batch) => batch.events.forEach((event) => { done(event.type); subscription.cancel(); }));
    subscription.on('error', (error) => done(grpc.status[error.code]));
  });
  told.late = (await failure(call(inference, 'Chat', endless, { deadline: Date.now() + 200 }))).code;

  // Many calls at once over the one connection.
  const answers = await Promise.all(Array.from({ length: 500 }, () => call(device, 'Info', {})));
  told.at_once = answers.filter((answer) => answer.memory.total === told.memory).length;
}
process.stdout.write(JSON.stringify(told), () => process.exit(0));
