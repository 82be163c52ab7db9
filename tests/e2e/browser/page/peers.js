// Two peers in one page that can only reach each other through relays, and what they have to say about it.
'use strict';

const DEADLINE_MILLISECONDS = 20_000;
const CHUNK_BYTES = 16 * 1024;
// What getRandomValues fills at once.
const RANDOM_BYTES = 65_536;

const SCHEME = { udp: /^turn:.*transport=udp$/, tcp: /^turn:.*transport=tcp$/, tls: /^turns:.*transport=tcp$/ };

let held = [];

// The reply's list with the TURN URLs of one transport alone.
function only(iceServers, transport) {
  return iceServers
    .map((server) => ({ ...server, urls: server.urls.filter((url) => SCHEME[transport].test(url)) }))
    .filter((server) => server.urls.length > 0);
}

// A peer that may use relays only, and its errors.
function makePeer(iceServers, errors) {
  const peer = new RTCPeerConnection({ iceServers, iceTransportPolicy: 'relay' });
  peer.addEventListener('icecandidateerror', ({ errorCode, errorText, url }) => errors.push({ code: errorCode, text: errorText, url }));
  return peer;
}

function within(promise, what, errors) {
  let timer;
  const late = new Promise((_, reject) => {
    const fail = () => reject(new Error(`${what}: not within ${DEADLINE_MILLISECONDS} ms; ${JSON.stringify(errors)}`));
    timer = setTimeout(fail, DEADLINE_MILLISECONDS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function once(target, event) {
  return new Promise((resolve) => target.addEventListener(event, resolve, { once: true }));
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function randomBytes(count) {
  const bytes = new Uint8Array(count);
  for (let start = 0; start < count; start += RANDOM_BYTES) {
    crypto.getRandomValues(bytes.subarray(start, Math.min(start + RANDOM_BYTES, count)));
  }
  return bytes;
}

// Sends random bytes from one end of a channel to the other; what each end holds at the end.
async function transfer(from, to, byteCount, errors) {
  const sent = randomBytes(byteCount);
  const received = new Uint8Array(byteCount);
  let count = 0;
  const whole = new Promise((resolve, reject) => {
    to.onmessage = ({ data }) => {
      if (count + data.byteLength > byteCount) {
        reject(new Error('more arrived than was sent'));
        return;
      }
      received.set(new Uint8Array(data), count);
      count += data.byteLength;
      if (count === byteCount) resolve();
    };
  });
  for (let start = 0; start < byteCount; start += CHUNK_BYTES) {
    from.send(sent.subarray(start, Math.min(start + CHUNK_BYTES, byteCount)));
  }
  await within(whole, `${byteCount} bytes`, errors);
  return { sent_sha256: await sha256(sent), received_sha256: await sha256(received), byte_count: count };
}

// The candidates of the pair that a peer's packets take.
async function selectedPair(peer) {
  const stats = await peer.getStats();
  const transport = [...stats.values()].find((each) => each.type === 'transport');
  const pair = stats.get(transport.selectedCandidatePairId);
  const side = ({ candidateType, protocol, relayProtocol, url, address, port }) => ({
    type: candidateType,
    protocol,
    relay_protocol: relayProtocol ?? null,
    url: url ?? null,
    address,
    port,
  });
  return { local: side(stats.get(pair.localCandidateId)), remote: side(stats.get(pair.remoteCandidateId)) };
}

// Connects two peers, sends bytes both ways, and leaves them connected until `release`.
async function relay({ iceServers, transport, byteCount }) {
  const errors = [];
  const servers = only(iceServers, transport);
  const [caller, callee] = [makePeer(servers, errors), makePeer(servers, errors)];
  held.push(caller, callee);
  caller.onicecandidate = ({ candidate }) => callee.addIceCandidate(candidate);
  callee.onicecandidate = ({ candidate }) => caller.addIceCandidate(candidate);

  const near = caller.createDataChannel('bytes');
  const arrived = once(callee, 'datachannel');
  const opened = once(near, 'open');
  await caller.setLocalDescription();
  await callee.setRemoteDescription(caller.localDescription);
  await callee.setLocalDescription();
  await caller.setRemoteDescription(callee.localDescription);
  await within(opened, 'the channel opens', errors);
  const far = (await within(arrived, 'the other end of the channel', errors)).channel;
  near.binaryType = far.binaryType = 'arraybuffer';

  return {
    transfers: [await transfer(near, far, byteCount, errors), await transfer(far, near, byteCount, errors)],
    pairs: [await selectedPair(caller), await selectedPair(callee)],
  };
}

// Gathers candidates with these servers: what it found, and what it was told.
async function gather({ iceServers, transport }) {
  const errors = [];
  const candidateTypes = [];
  const peer = makePeer(only(iceServers, transport), errors);
  held.push(peer);
  const complete = new Promise((resolve) => {
    peer.onicecandidate = ({ candidate }) => {
      if (candidate === null) resolve();
      else if (candidate.candidate !== '') candidateTypes.push(candidate.type);
    };
  });
  peer.createDataChannel('none');
  await peer.setLocalDescription();
  await within(complete, 'gathering ends', errors);
  return { candidate_types: candidateTypes, errors };
}

// Ends every peer of this page. Their allocations are given back.
function release() {
  for (const peer of held) peer.close();
  held = [];
}
