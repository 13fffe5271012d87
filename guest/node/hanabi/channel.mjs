// The guest end of the runtime channel: frames over a stream socket. docs/architecture.md, "Runtime channel".

import { Socket } from "node:net";

const BUFFER_SIZE = 64 * 1024;
const PIECE_SIZE = 64 * 1024; // of a streamed answer, in one frame
const ANSWER_LIMIT = 6 * 1024 * 1024 + 100; // one byte over it is all the host needs to see to refuse an answer
const [INIT, INVOKE] = Buffer.from("in");

export function openChannel(fd) {
  return new Channel(fd);
}

class Channel {
  #socket;
  #held = null; // the beginning of a frame that has not come whole
  #have = 0;
  #onInit;
  onInvoke;

  constructor(fd) {
    const onread = { buffer: Buffer.alloc(BUFFER_SIZE), callback: (size, buffer) => this.#receive(buffer, size) };
    this.#socket = new Socket({ fd, onread });
    this.#socket.on("error", () => process.exit(1));
    this.#socket.on("end", () => process.exit(0)); // the host has gone
  }

  receiveInit() {
    return new Promise((resolve) => (this.#onInit = resolve));
  }

  /** While the host is waited for, the process stays; during an invocation only the function's own work keeps it. */
  wait() {
    this.#socket.ref();
  }

  work() {
    this.#socket.unref();
  }

  /** Body: text, or bytes. */
  send(kind, body, sent) {
    let size = Buffer.byteLength(body);
    let frame;
    if (size <= ANSWER_LIMIT) {
      frame = Buffer.allocUnsafe(5 + size);
      if (typeof body === "string") frame.write(body, 5);
      else frame.set(body, 5);
    } else {
      size = ANSWER_LIMIT + 1;
      frame = Buffer.concat([Buffer.alloc(5), Buffer.from(body).subarray(0, size)]);
    }
    frame.writeUInt32LE(size + 1, 0);
    frame.write(kind, 4);
    this.#socket.write(frame, sent);
  }

  /** A piece of a streamed answer. `sent` is called when the socket has taken it. */
  sendPiece(bytes, sent) {
    let start = 0;
    do {
      const end = Math.min(start + PIECE_SIZE, bytes.length);
      this.send("c", bytes.subarray(start, end), end === bytes.length ? sent : undefined);
      start = end;
    } while (start < bytes.length);
  }

  /** The host sends one frame and waits for our answer, so what a read brings is the beginning of one frame, or all or more of it. */
  #receive(buffer, size) {
    if (this.#held === null) {
      const end = size < 4 ? Infinity : 4 + buffer.readUInt32LE(0);
      if (end === size) return this.#take(buffer, size), true;
      this.#held = Buffer.allocUnsafe(end === Infinity ? BUFFER_SIZE : end);
      this.#have = 0;
    }
    buffer.copy(this.#held, this.#have, 0, size);
    this.#have += size;
    if (this.#have < 4) return true;
    const end = 4 + this.#held.readUInt32LE(0);
    if (end > this.#held.length) this.#held = Buffer.concat([this.#held.subarray(0, this.#have)], end);
    if (this.#have < end) return true;
    const held = this.#held;
    this.#held = null;
    this.#take(held, end);
    return true;
  }

  #take(frame, end) {
    if (frame[4] === INIT) {
      this.#onInit(JSON.parse(frame.toString("utf8", 5, end)));
    } else if (frame[4] === INVOKE && this.onInvoke) {
      const split = 7 + frame.readUInt16LE(5);
      const [requestId, deadlineMs, arn, trace, tenantId, ...context] = frame.toString("utf8", 7, split).split("\n");
      const payload = frame.toString("utf8", split, end);
      const clientContext = context.join("\n");
      this.onInvoke({ requestId, deadlineMs: Number(deadlineMs), arn, trace, tenantId: tenantId || undefined, clientContext, payload });
    } else {
      process.exit(1);
    }
  }
}
