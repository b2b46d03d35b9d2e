/** Plays a loop at its own rate from encoded frames, decoding just in time. */

const AHEAD = 8; // decoded frames in hand: 0.25 s at 30 Hz, about 10 MB of 640x480 bitmaps
const BEHIND = 2;

/** A cine loop on a canvas. */
export class Player {
  #context;
  #blobs = [];
  #bitmaps = new Map();
  #starts;
  #clock = 0;
  #before = 0;
  #shown = -1;
  #begin;

  /**
   * @param {HTMLCanvasElement} canvas as large as a source frame
   * @param {number[]} durations how long each frame stands, in ms
   * @param {{onShow: (frame: number) => void, onState: (player: Player) => void}} callbacks
   */
  constructor(canvas, durations, { onShow, onState }) {
    this.#context = canvas.getContext('2d', { alpha: false });
    this.onShow = onShow;
    this.onState = onState;
    this.speed = 1;
    this.dropped = 0;
    this.readable = undefined;
    /** Whether any picture has stood. */
    this.pictured = false;
    /** Resolves when the first picture stands. */
    this.begun = new Promise((resolve) => (this.#begin = resolve));
    this.frame = 0;
    this.playing = false;
    /** First and last frame of what is played over and over; null for the whole loop. */
    this.range = null;
    this.retime(durations);
  }

  /** @param {number[]} durations how long each frame stands, in ms */
  retime(durations) {
    this.count = durations.length;
    this.#starts = [0];
    for (const duration of durations) this.#starts.push(this.#starts.at(-1) + duration);
  }

  /**
   * Take a frame that has arrived.
   * @param {number} index
   * @param {Blob | null} blob encoded frame; null for one that can't be shown
   */
  add(index, blob) {
    this.#blobs[index] = blob;
    if (index === this.frame && this.#shown < 0) this.seek(index);
    else if (this.#distance(index) <= AHEAD) this.#decodeAround(this.frame);
  }

  /** Play, or stop. */
  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Play on from here, over and over. */
  play() {
    if (this.playing || this.count < 2) return;
    const [first, last] = this.#ends;
    if (this.frame < first || this.frame > last) this.frame = first;
    this.playing = true;
    this.#clock = this.#starts[this.frame];
    this.#before = performance.now();
    this.onState(this);
    requestAnimationFrame(this.#tick);
  }

  /** Stop at the frame that stands. */
  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.onState(this);
  }

  /**
   * Stop playing and show a frame; counts round at both ends.
   * @param {number} frame
   */
  async seek(frame) {
    this.pause();
    this.frame = ((frame % this.count) + this.count) % this.count;
    const wanted = this.frame;
    this.#decodeAround(wanted);
    await this.#bitmaps.get(wanted)?.ready;
    if (wanted === this.frame && !this.playing) this.#show(wanted);
  }

  #tick = (now) => {
    if (!this.playing) return;
    const target = this.#due(now);
    if (target !== this.frame && this.#bitmaps.get(target)?.done) {
      this.dropped += Math.max(0, this.#distance(target) - 1);
      this.frame = target;
      this.#show(target);
    }
    this.#decodeAround(target);
    requestAnimationFrame(this.#tick);
  };

  /** The frame that should stand at a time; waits before one that hasn't arrived. */
  #due(now) {
    const passed = Math.max(0, now - this.#before) * this.speed;
    this.#before = Math.max(now, this.#before);
    const [first, last] = this.#ends;
    const [begin, end] = [this.#starts[first], this.#starts[last + 1]];
    const clock = begin + ((Math.max(0, this.#clock - begin) + passed) % (end - begin));
    let target = this.frame;
    const inside = (i) => this.#starts[i] <= clock && clock < this.#starts[i + 1];
    for (let tries = 0; tries < this.count && !inside(target); tries += 1) {
      const next = target >= last ? first : target + 1;
      if (!(next in this.#blobs)) return target;
      target = next;
    }
    this.#clock = clock;
    return target;
  }

  get #ends() {
    return this.range ?? [0, this.count - 1];
  }

  /** The frame so many after another one, in the order they are played. */
  #after(frame, steps) {
    const [first, last] = this.#ends;
    if (frame < first || frame > last) return (frame + steps + this.count) % this.count;
    const span = last - first + 1;
    return first + ((((frame - first + steps) % span) + span) % span);
  }

  #distance(index) {
    const [first, last] = this.#ends;
    const inside = index >= first && index <= last && this.frame >= first && this.frame <= last;
    const span = inside ? last - first + 1 : this.count;
    return (index - this.frame + span) % span;
  }

  #decodeAround(frame) {
    const wanted = new Set();
    for (let i = -BEHIND; i <= AHEAD; i += 1) wanted.add(this.#after(frame, i));
    for (const [index, entry] of this.#bitmaps) {
      if (wanted.has(index)) continue;
      this.#bitmaps.delete(index);
      entry.ready.then(() => entry.bitmap?.close());
    }
    // The first picture has the decoders for itself.
    const next = this.#shown < 0 ? [frame] : [frame, ...wanted];
    for (const index of next) {
      if (index in this.#blobs && !this.#bitmaps.has(index)) this.#decode(index);
    }
  }

  #decode(index) {
    const entry = { done: false, bitmap: null, ready: null };
    const blob = this.#blobs[index];
    // A frame the browser can't decode is shown black, never as its neighbour.
    const decoding = blob ? createImageBitmap(blob).catch(() => null) : Promise.resolve(null);
    entry.ready = decoding.then((bitmap) => {
      entry.bitmap = bitmap;
      entry.done = true;
    });
    this.#bitmaps.set(index, entry);
  }

  #show(frame) {
    const entry = this.#bitmaps.get(frame);
    if (!entry?.done) return;
    const { canvas } = this.#context;
    if (entry.bitmap) this.#context.drawImage(entry.bitmap, 0, 0, canvas.width, canvas.height);
    else this.#context.fillRect(0, 0, canvas.width, canvas.height);
    this.#shown = frame;
    this.readable = entry.bitmap !== null;
    this.pictured ||= this.readable;
    this.#begin();
    this.onShow(frame);
    if (!this.playing) this.#decodeAround(frame);
  }
}
