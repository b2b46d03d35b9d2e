/** The viewer's page: loads a loop, listens to fingers and keys, and sends the decision. */

import { Problem, frames, getJSON, post } from './api.js';
import { Correction } from './correction.js';
import * as drafts from './drafts.js';
import * as keys from './keys.js';
import { View } from './view.js';

const POLL_MS = 1000;
const RETRY_MS = 2000;
const HEAD_START_MS = 300;
const GUARD_MS = 500; // the second half of a double tap must not accept the next loop

const byId = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const opened = performance.now();

const view = new View(JSON.parse(byId('state').textContent));
const { player } = view;
const correction = new Correction(view, tellActions);
let sending = false;
let version = view.state.version;

view.onFrame = () => correction.tell();
view.onUndo = () => decide('undone');

function say(text, tone = '') {
  byId('said').textContent = text;
  byId('said').className = `said ${tone}`;
}

function complain(sentence) {
  byId('problem').textContent = sentence;
  byId('problem').hidden = !sentence;
}

/** Words and buttons of the decision, as they stand now. */
function tellActions() {
  const { state } = view;
  const editing = Boolean(view.editor);
  const ready = document.body.dataset.ready === 'true';
  const decidable = ready && Boolean(state.analysis?.sha256) && !state.blocked && !sending;
  byId('accept').textContent = correction.changed ? 'Save and accept' : 'Accept';
  byId('accept').disabled = !decidable;
  byId('correct').disabled = !state.analysis?.sha256 || Boolean(state.blocked);
  byId('reject').disabled = !state.analysis?.sha256 || sending;
  byId('deciding').hidden = editing;
  byId('correcting').hidden = !editing;
  byId('blocked').textContent = state.blocked ?? '';
  byId('blocked').hidden = !state.blocked;
  if (correction.changed) say('● not saved yet', 'attention');
  else say(`${state.status.sign} ${state.status.word}`, state.status.tone);
}

/**
 * Send a decision until the box has answered; the same key makes a repeat harmless.
 * @param {string} decision accepted, corrected, rejected or undone
 * @param {object} [more]
 */
async function decide(decision, more = {}) {
  const { state } = view;
  if (sending || !state.analysis?.sha256) return;
  sending = true;
  complain('');
  tellActions();
  const body = {
    decision,
    analysis_sha256: state.analysis.sha256,
    patient_id: state.patient.id,
    key: newKey(),
    ...more,
  };
  try {
    const answer = await send(`/api/loops/${state.seq}/reviews`, body);
    say(answer.said, 'good');
    if (decision === 'undone') {
      sending = false;
      await refresh();
      return;
    }
    drafts.store(state.analysis.sha256, null);
    document.body.dataset.decided = decision;
    location.assign(answer.next);
  } catch (problem) {
    sending = false;
    complain(problem.message);
    await refresh();
  }
}

/** crypto.randomUUID needs a secure context, which http to another machine is not. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function send(url, body) {
  for (;;) {
    try {
      return await post(url, body);
    } catch (problem) {
      if (!(problem instanceof Problem) || problem.status !== 0) throw problem;
      say('● kept here, not yet on the box', 'attention');
      await pause(RETRY_MS);
    }
  }
}

function accept() {
  if (byId('accept').disabled) return;
  if (correction.changed) decide('corrected', correction.body());
  else decide('accepted', view.shown?.review ? { base_review: view.shown.review } : {});
}

function goTo(mark) {
  const frame = { ...view.shown?.marks, ...view.editor?.marks }[mark];
  if (frame !== undefined) player.seek(frame);
}

function toggleHidden() {
  view.hidden = !view.hidden;
  byId('hide').setAttribute('aria-pressed', String(view.hidden));
  view.draw();
}

function toggleModel() {
  if (view.editor) correction.toggleModelLine();
  else if (view.shown) view.show(view.shown.id === 'model' ? view.latest : 'model');
}

function visit(url) {
  if (url) location.assign(url);
}

function wire() {
  const click = (id, action) => byId(id).addEventListener('click', action);
  click('play', () => player.toggle());
  click('speed', () => view.nextSpeed());
  click('accept', accept);
  click('correct', () => correction.begin());
  click('reject', () => byId('reject-dialog').showModal());
  click('keep', () => byId('reject-dialog').close());
  click('hide', toggleHidden);
  click('help', () => byId('keys-dialog').showModal());
  click('close-keys', () => byId('keys-dialog').close());
  click('previous', () => visit(view.state.previous));
  click('next', () => visit(view.state.next));
  for (const button of document.querySelectorAll('[data-reason]')) {
    button.addEventListener('click', () => {
      byId('reject-dialog').close();
      decide('rejected', { reason: button.dataset.reason });
    });
  }
  keys.listen({
    ' ': () => player.toggle(),
    ArrowLeft: () => player.seek(player.frame - 1),
    ArrowRight: () => player.seek(player.frame + 1),
    ArrowUp: () => visit(view.state.previous),
    ArrowDown: () => visit(view.state.next),
    d: () => goTo('ed'),
    s: () => goTo('es'),
    'Shift+d': () => correction.mark('ed'),
    'Shift+s': () => correction.mark('es'),
    a: accept,
    c: () => (view.editor ? correction.back() : correction.begin()),
    x: () => byId('reject').disabled || byId('reject-dialog').showModal(),
    h: toggleHidden,
    m: toggleModel,
    z: () => correction.undo(),
    'Shift+z': () => correction.redo(),
    l: () => byId('lock').click(),
    '?': () => byId('keys-dialog').showModal(),
  });
}

async function refresh() {
  const state = await getJSON(`/api/loops/${view.state.seq}`);
  version = state.version;
  if (view.editor && state.analysis?.sha256 !== view.state.analysis?.sha256) {
    correction.leave();
    complain('The loop was analysed anew: look at the new contours first.');
  }
  await view.renew(state);
  tellActions();
}

async function poll() {
  for (;;) {
    await pause(POLL_MS);
    try {
      const now = (await getJSON('/api/version')).version;
      if (now !== version && !sending) await refresh();
      tellActions();
    } catch (problem) {
      say(`● ${problem.message}`, 'attention');
    }
  }
}

async function loadFrames() {
  if (!view.state.urls.frames) return;
  for await (const { index, blob } of frames(view.state.urls.frames)) {
    player.add(index, blob);
    // The rest of the loop waits a moment, so that the first picture doesn't.
    if (index === 0) await Promise.race([view.begun, pause(HEAD_START_MS)]);
  }
  document.body.dataset.loaded = 'true';
}

async function start() {
  wire();
  tellActions();
  const loading = loadFrames();
  loading.catch((problem) => complain(problem.message));
  await view.load();
  await correction.restore();
  await Promise.race([player.begun, loading.catch(() => null)]);
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  if (!calm && !view.editor) player.play();
  await pause(Math.max(0, GUARD_MS - (performance.now() - opened)));
  document.body.dataset.ready = 'true';
  tellActions();
  await poll();
}

start().catch((problem) => complain(problem.message));
