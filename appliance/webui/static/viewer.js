/** The viewer's page: loads a loop, listens to fingers and keys, and sends the decision. */

import { frames, getJSON, pause, persist } from './api.js';
import { Correction } from './correction.js';
import * as drafts from './drafts.js';
import * as keys from './keys.js';
import { Label } from './label.js';
import * as pending from './pending.js';
import { View } from './view.js';

const POLL_MS = 1000;
const SOON_MS = 100; // somebody waits for the first outlines
const HEAD_START_MS = 300;
const GUARD_MS = 500; // the second half of a double tap must not accept the next loop

const byId = (id) => document.getElementById(id);
const opened = performance.now();

const view = new View(JSON.parse(byId('state').textContent));
const { player } = view;
const correction = new Correction(view, tellActions, mayCorrect);
const label = new Label(view, sayView);
let sending = false;
let missing = view.state.urls.frames ? '' : 'The pictures of this loop can’t be read.';
let version = view.state.version;

view.onFrame = () => {
  correction.tell();
  if (isReady() && byId('reject').disabled) tellActions();
};
view.onUndo = () => decide('undone');

function say(text, tone = '') {
  byId('said').textContent = text;
  byId('said').className = `said ${tone}`;
}

function complain(sentence) {
  byId('problem').textContent = sentence;
  byId('problem').hidden = !sentence;
}

function isReady() {
  return document.body.dataset.ready === 'true';
}

/** Nobody decides on what can't be seen, or while a decision is on its way. */
function mayDecide() {
  const { state } = view;
  const standing = Boolean(state.analysis?.sha256) && !state.superseded;
  return standing && isReady() && view.visible && !missing && !sending;
}

function mayCorrect() {
  return mayDecide() && !view.state.blocked;
}

/** Words and buttons of the decision, as they stand now. */
function tellActions() {
  const { state } = view;
  const editing = Boolean(view.editor);
  byId('accept').textContent = correction.changed ? 'Save and accept' : 'Accept';
  byId('accept').disabled = !mayCorrect();
  byId('correct').disabled = !mayCorrect();
  byId('reject').disabled = !mayDecide();
  byId('deciding').hidden = editing;
  byId('correcting').hidden = !editing;
  const hindered = [state.blocked, state.analysis && missing].filter(Boolean).join(' ');
  byId('blocked').textContent = hindered;
  byId('blocked').hidden = !hindered;
  correction.tell();
  label.tell();
  if (sending) return; // what becomes of it is said there
  if (correction.changed) say('● not saved yet', 'attention');
  else say(`${state.status.sign} ${state.status.word}`, state.status.tone);
}

/**
 * Decide on what is shown.
 * @param {string} decision accepted, corrected, rejected or undone
 * @param {object} [more]
 */
function decide(decision, more = {}) {
  const { state } = view;
  if (sending || !state.analysis?.sha256) return;
  const body = {
    decision,
    analysis_sha256: state.analysis.sha256,
    patient_id: state.patient.id,
    newest_review: state.newest_review,
    view: state.view?.view ?? '',
    key: newKey(),
    ...more,
  };
  const decided = { seq: state.seq, reviewer: document.body.dataset.reviewer, body };
  pending.keep(decided);
  deliver(decided);
}

/**
 * Send a decision until the box has answered; nothing can be changed meanwhile.
 * @param {import('./pending.js').Pending} decided
 * @param {boolean} [stay] don't go on to the next loop: it was decided on an earlier visit
 */
async function deliver(decided, stay = false) {
  sending = true;
  complain('');
  say('● being sent', 'attention');
  tellActions();
  try {
    const unsent = () => say('● kept here, not yet on the box', 'attention');
    const answer = await persist(() => pending.send(decided), unsent);
    if (decided.body.decision === 'undone') return await settle('');
    say(answer.said, 'good');
    drafts.store(decided.body.analysis_sha256, null);
    if (stay) return await settle('');
    document.body.dataset.decided = decided.body.decision;
    location.assign(answer.next);
  } catch (problem) {
    await settle(problem.message);
  }
}

/** Go on after an answer that leaves this loop open: with its present state, and every draft. */
async function settle(sentence) {
  complain(sentence);
  try {
    await persist(refresh);
  } finally {
    sending = false;
    tellActions();
  }
  if (!sentence) return;
  const kept = correction.changed ? ' Your correction is kept.' : '';
  complain(`${sentence}${kept}`);
}

/**
 * Wait until the box has taken another view, and show the loop as it then stands.
 * @param {Promise<any>} sent
 */
async function sayView(sent) {
  complain('');
  try {
    await sent;
    await refresh();
  } catch (problem) {
    await settle(problem.message);
  }
}

/** crypto.randomUUID needs a secure context, which http to another machine is not. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
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
    v: () => byId('view').click(),
    d: () => goTo('ed'),
    s: () => goTo('es'),
    'Shift+d': () => correction.mark('ed'),
    'Shift+s': () => correction.mark('es'),
    a: accept,
    c: () => byId(view.editor ? 'back-out' : 'correct').click(),
    x: () => view.editor || byId('reject').click(),
    h: toggleHidden,
    m: toggleModel,
    z: () => correction.undo(),
    'Shift+z': () => correction.redo(),
    l: () => byId('lock').click(),
    '?': () => byId('keys-dialog').showModal(),
  }, isReady);
}

async function refresh() {
  const state = await getJSON(`/api/loops/${view.state.seq}`);
  const decided = state.newest_review !== view.state.newest_review;
  if (view.editor && state.analysis?.sha256 !== view.state.analysis?.sha256) {
    correction.leave();
    complain('The loop was analysed anew: look at the new contours first.');
  } else if (decided && !sending) {
    complain(`Decided meanwhile: ${state.status.word}.`);
    hold();
  }
  await view.renew(state);
  version = state.version;
  tellActions();
}

/** A finger already on its way must not decide on what has just changed under it. */
async function hold() {
  document.body.dataset.ready = 'false';
  tellActions();
  await pause(GUARD_MS);
  document.body.dataset.ready = 'true';
  tellActions();
}

async function poll() {
  for (;;) {
    const waiting = ['received', 'analysing'].includes(view.state.state) && !view.state.analysis;
    await pause(waiting ? SOON_MS : POLL_MS);
    if (sending) continue;
    try {
      const now = (await getJSON('/api/version')).version;
      if (now !== version && !sending) await refresh();
      tellActions();
    } catch (problem) {
      if (!sending) say(`● ${problem.message}`, 'attention');
    }
  }
}

async function loadFrames() {
  for await (const { index, blob } of frames(view.state.urls.frames)) {
    player.add(index, blob);
    // The rest of the loop waits a moment, so that the first picture doesn't.
    if (index === 0) await Promise.race([view.begun, pause(HEAD_START_MS)]);
  }
  missing = '';
  document.body.dataset.loaded = 'true';
  tellActions();
}

/** Say that there is no picture, and what is done about it; nothing can be decided meanwhile. */
function tellMissing(problem, hope) {
  missing = `The pictures did not come: ${problem.message} ${hope}`;
  tellActions();
}

/** Load all frames, again and again while the box can't be reached. */
async function keepLoading() {
  if (!view.state.urls.frames) return;
  try {
    await persist(loadFrames, (problem) => tellMissing(problem, 'Trying again.'));
  } catch (problem) {
    tellMissing(problem, '');
  }
}

async function start() {
  wire();
  tellActions();
  poll();
  const loading = keepLoading();
  await view.load();
  await correction.restore();
  const { reviewer } = document.body.dataset;
  const mine = (item) => item.seq === view.state.seq && item.reviewer === reviewer;
  const unsent = pending.all().find(mine);
  if (unsent) deliver(unsent, true);
  await Promise.race([player.begun, loading]);
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  if (!calm && !view.editor) player.play();
  await pause(Math.max(0, GUARD_MS - (performance.now() - opened)));
  document.body.dataset.ready = 'true';
  tellActions();
}

start().catch((problem) => complain(problem.message));
