// One WebSocket to the server, and when each second of sound was sent.

const CONGESTED = 3; // s of sound that wait in the browser; what comes beyond is dropped here

export class Connection {
  // on: {ready(about), event(event), closed(code, reason, wasReady)}
  constructor(rate, token, on) {
    this.rate = rate;
    this.sent = 0; // samples
    this.dropped = 0; // samples
    this.marks = []; // [seconds of sound, when its last sample was sent]
    this.ready = false;
    const address = new URL("ws", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.hash = "";
    this.socket = new WebSocket(address);
    this.socket.onopen = () => this.socket.send(JSON.stringify({ type: "start", rate, token }));
    this.socket.onmessage = ({ data }) => this.receive(JSON.parse(data), on);
    this.socket.onclose = ({ code, reason }) => on.closed(code, reason, this.ready);
  }

  receive(message, on) {
    if (message.type === "ready") {
      this.ready = true;
      on.ready(message);
      return;
    }
    if ("latency" in message) message.roundTrip = this.ago(message.time);
    on.event(message);
  }

  send(block) {
    if (!this.ready || this.socket.readyState !== WebSocket.OPEN) return;
    if (this.socket.bufferedAmount > CONGESTED * this.rate * 4) {
      this.dropped += block.length;
      return;
    }
    this.socket.send(block);
    this.sent += block.length;
    this.marks.push([this.sent / this.rate, performance.now()]);
    if (this.marks.length > 600) this.marks.shift();
  }

  // Seconds since the sound until `time` was sent; null where that is not known any more.
  ago(time) {
    while (this.marks.length && this.marks[0][0] < time - 1e-3) this.marks.shift();
    return this.marks.length ? (performance.now() - this.marks[0][1]) / 1000 : null;
  }

  stop() {
    if (this.socket.readyState === WebSocket.OPEN && this.ready) this.socket.send('{"type": "stop"}');
    else this.socket.close();
  }
}
