"use strict";
// Node's `http2` against an echo endpoint over HTTP/2 without TLS: one line for each check.
//
//   node tests/foreign/http2_client.js http://127.0.0.1:PORT/PATH

const assert = require("node:assert/strict");
const { once } = require("node:events");
const http2 = require("node:http2");

const url = new URL(process.argv[2]);
const TEXT = 0x81;
const CLOSE = 0x88;

/** A masked frame; its payload is shorter than 64 KiB. */
function frame(first, payload) {
  const key = Buffer.from([1, 2, 3, 4]);
  const length = payload.length < 126 ? [0x80 | payload.length] : [0x80 | 126, payload.length >> 8, payload.length & 255];
  return Buffer.concat([Buffer.from([first, ...length]), key, payload.map((byte, i) => byte ^ key[i % 4])]);
}

/** A stream whose bytes are read as frames without masks. */
class Session {
  static async open(client) {
    const session = new Session();
    session.stream = client.request({
      ":method": "CONNECT",
      ":protocol": "websocket",
      ":scheme": "http",
      ":path": url.pathname,
      ":authority": url.host,
      "sec-websocket-version": "13",
      "sec-websocket-protocol": "chat.v1",
      "origin": url.origin,
    }, { endStream: false });
    session.chunks = session.stream[Symbol.asyncIterator]();
    session.buffer = Buffer.alloc(0);
    [session.headers] = await once(session.stream, "response");
    return session;
  }

  async take(count) {
    while (this.buffer.length < count) {
      const { value, done } = await this.chunks.next();
      assert.ok(!done, "the stream ended in a frame");
      this.buffer = Buffer.concat([this.buffer, value]);
    }
    const taken = this.buffer.subarray(0, count);
    this.buffer = this.buffer.subarray(count);
    return taken;
  }

  async receive() {
    const [first, second] = await this.take(2);
    const length = second === 126 ? (await this.take(2)).readUInt16BE() : second;
    return { first, payload: await this.take(length) };
  }

  async echo(text) {
    this.stream.write(frame(TEXT, Buffer.from(text)));
    const { first, payload } = await this.receive();
    assert.equal(first, TEXT);
    assert.equal(payload.toString(), text);
  }
}

async function main() {
  const client = http2.connect(url.origin);
  const [settings] = await once(client, "remoteSettings");
  assert.equal(settings.enableConnectProtocol, true);
  console.log("ok    the server announces extended CONNECT");

  const session = await Session.open(client);
  assert.equal(session.headers[":status"], 200);
  assert.equal(session.headers["sec-websocket-protocol"], "chat.v1");
  assert.equal(session.headers["sec-websocket-accept"], undefined);
  console.log("ok    the handshake is answered with 200 and the subprotocol");

  const other = await Session.open(client);
  for (const text of ["hello", "x".repeat(60_000), "言葉"]) {
    await session.echo(text);
    await other.echo(text);
  }
  console.log("ok    two sessions echo on one connection");

  session.stream.write(frame(CLOSE, Buffer.from([0x0f, 0xa1])));
  const { first, payload } = await session.receive();
  assert.equal(first, CLOSE);
  assert.deepEqual([...payload], [0x0f, 0xa1]);
  session.stream.end();
  assert.ok((await session.chunks.next()).done);
  await other.echo("the other goes on");
  console.log("ok    a close in order ends one stream");
  other.stream.close(http2.constants.NGHTTP2_CANCEL);
  client.close();
}

const late = setTimeout(() => { throw new Error("waited 20 s"); }, 20_000);
main().then(() => clearTimeout(late), error => {
  console.log(`FAIL  ${error.stack}`);
  process.exit(1);
});
