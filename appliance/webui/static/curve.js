/** The ventricle's area over time: what the loop shows at a glance, and the scrubber. */

import { t } from './language.js';

const PAD = { left: 12, right: 12, top: 22, bottom: 28 };
const STRIP = 10; // CSS pixels below the line: how uncertain each frame's contours are
const FULL = 0.5; // of a frame's contours uncertain fills it
const LEAST = 1; // CSS pixels: less is not drawn
const COLOURS = { line: '#56B4E9', quiet: '#9AA5B1', rule: '#2A3038', text: '#E6EAF0', doubt: '#F0E442' };
const FONT = '13px system-ui, sans-serif';

/** A curve with ED and ES ticks; dragging along it chooses the frame. */
export class Curve {
  #lines;
  #head;
  #frame = 0;
  #range = [0, 1];
  #data = { values: [], frames: 1, marks: {}, beats: [], corrected: [], doubts: [], unit: '' };

  /**
   * @param {HTMLElement} slider holds two canvases: the curve, and the playhead above it
   * @param {(frame: number) => void} onSeek
   */
  constructor(slider, onSeek) {
    this.slider = slider;
    [this.#lines, this.#head] = slider.querySelectorAll('canvas');
    const seek = (event) => onSeek(this.#frameAt(event.clientX));
    slider.addEventListener('pointerdown', (event) => {
      slider.setPointerCapture(event.pointerId);
      seek(event);
    });
    slider.addEventListener('pointermove', (event) => {
      if (slider.hasPointerCapture(event.pointerId)) seek(event);
    });
    new ResizeObserver(() => this.#fit()).observe(slider);
  }

  /**
   * @param {object} data
   * @param {(number | null)[]} data.values area per frame; null where there is none
   * @param {number} data.frames
   * @param {{ed?: number, es?: number}} data.marks
   * @param {{ed: number, es: number}[]} data.beats
   * @param {number[]} data.corrected frames a person changed
   * @param {number[]} data.doubts share of each frame's contours that is uncertain, 0 to 1
   * @param {[number, number] | null} [data.looped] first and last frame of what is played
   * @param {string} data.unit
   */
  set(data) {
    this.#data = data;
    const known = data.values.filter((item) => typeof item === 'number');
    this.#range = [Math.min(...known), Math.max(...known)];
    this.#drawLines();
    this.at(this.#frame);
  }

  /**
   * Move the playhead.
   * @param {number} frame
   */
  at(frame) {
    this.#frame = frame;
    const context = clear(this.#head);
    const { clientHeight: height } = this.slider;
    const x = this.#x(frame);
    context.fillStyle = '#fff';
    context.fillRect(x - 1, PAD.top - 2, 2, height - PAD.top - PAD.bottom + 8);
    const value = this.#data.values[frame];
    if (typeof value === 'number') dot(context, x, this.#y(value), 5, '#fff');
    this.slider.setAttribute('aria-valuenow', String(frame + 1));
    const share = Math.round(100 * (this.#data.doubts[frame] ?? 0));
    const told = { number: frame + 1, frames: this.#data.frames, share };
    const text = share
      ? t('Frame {number} of {frames}, {share} % of its contours uncertain', told)
      : t('Frame {number} of {frames}', told);
    this.slider.setAttribute('aria-valuetext', text);
  }

  #fit() {
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.#lines, this.#head]) {
      canvas.width = Math.round(this.slider.clientWidth * ratio);
      canvas.height = Math.round(this.slider.clientHeight * ratio);
    }
    this.#drawLines();
    this.at(this.#frame);
  }

  #frameAt(clientX) {
    const box = this.slider.getBoundingClientRect();
    const share = (clientX - box.left - PAD.left) / (box.width - PAD.left - PAD.right);
    return Math.round(Math.min(1, Math.max(0, share)) * (this.#data.frames - 1));
  }

  #x(frame) {
    const width = this.slider.clientWidth - PAD.left - PAD.right;
    return PAD.left + (width * frame) / Math.max(1, this.#data.frames - 1);
  }

  #y(value) {
    const [low, high] = this.#range;
    const height = this.slider.clientHeight - PAD.top - PAD.bottom;
    return PAD.top + height * (1 - (value - low) / Math.max(high - low, 1e-6));
  }

  #drawLines() {
    const context = clear(this.#lines);
    const { clientHeight: height, clientWidth: width } = this.slider;
    context.font = FONT;
    context.strokeStyle = COLOURS.rule;
    context.strokeRect(PAD.left, height - PAD.bottom + 0.5, width - PAD.left - PAD.right, 0);
    this.#drawLooped(context);
    this.#drawCurve(context);
    this.#drawDoubts(context);
    this.#drawTicks(context);
    this.#drawCorrected(context);
    context.fillStyle = COLOURS.quiet;
    context.textAlign = 'right';
    context.fillText(t('LV area {unit}', this.#data).trim(), width - PAD.right, height - 4);
    context.textAlign = 'left';
    if (this.#data.doubts.some((share) => barOf(share) >= LEAST)) {
      context.fillText(`▮ ${t('uncertain')}`, PAD.left, height - 4);
    }
  }

  #drawLooped(context) {
    const { looped } = this.#data;
    if (!looped) return;
    const [from, to] = looped.map((frame) => this.#x(frame));
    context.fillStyle = COLOURS.rule;
    context.fillRect(from, PAD.top, to - from, this.slider.clientHeight - PAD.top - PAD.bottom);
  }

  #drawDoubts(context) {
    const top = this.slider.clientHeight - PAD.bottom + 1;
    const wide = Math.max(1, this.#x(1) - this.#x(0) - 1);
    context.fillStyle = COLOURS.doubt;
    this.#data.doubts.forEach((share, frame) => {
      const high = barOf(share);
      if (high >= LEAST) context.fillRect(this.#x(frame) - wide / 2, top, wide, high);
    });
  }

  #drawCurve(context) {
    context.strokeStyle = COLOURS.line;
    context.lineWidth = 2;
    context.beginPath();
    let drawing = false;
    this.#data.values.forEach((value, frame) => {
      if (typeof value !== 'number') drawing = false;
      else if (drawing) context.lineTo(this.#x(frame), this.#y(value));
      else context.moveTo(this.#x(frame), this.#y(value));
      drawing = typeof value === 'number';
    });
    context.stroke();
  }

  #drawTicks(context) {
    const { marks, beats } = this.#data;
    for (const beat of beats) {
      this.#tick(context, beat.ed, '', COLOURS.quiet);
      this.#tick(context, beat.es, '', COLOURS.quiet);
    }
    if (marks.ed !== undefined) this.#tick(context, marks.ed, t('ED'), COLOURS.text);
    if (marks.es !== undefined) this.#tick(context, marks.es, t('ES'), COLOURS.text);
  }

  #tick(context, frame, word, colour) {
    const x = this.#x(frame);
    const bottom = this.slider.clientHeight - PAD.bottom;
    context.strokeStyle = colour;
    context.lineWidth = word ? 2 : 1;
    context.beginPath();
    context.moveTo(x, bottom);
    context.lineTo(x, word ? PAD.top - 4 : bottom - 8);
    context.globalAlpha = word ? 0.5 : 1;
    context.stroke();
    context.globalAlpha = 1;
    context.fillStyle = colour;
    context.textAlign = 'center';
    context.fillText(word, x, 14);
  }

  #drawCorrected(context) {
    const bottom = this.slider.clientHeight - PAD.bottom;
    for (const frame of this.#data.corrected) dot(context, this.#x(frame), bottom, 4, '#E69F00');
  }
}

function barOf(share) {
  return STRIP * Math.min(1, share / FULL);
}

function clear(canvas) {
  const context = canvas.getContext('2d');
  const ratio = window.devicePixelRatio || 1;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.scale(ratio, ratio);
  return context;
}

function dot(context, x, y, radius, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}
